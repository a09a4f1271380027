# A guest's whole life by commands that a script written for Xen would use: the same bytes run under
# either hypervisor with either toolstack, and what is printed is compared. Not one word here depends on
# the cell it runs in.
#
#   @@ NAME          a step begins
#   $ COMMAND        what was run; then "out|" and "err|" lines and "rc=N"
#   : TEXT           something that was seen to hold, or not ("NO: ...")
#
# With CELLS=short in the environment it ends after the first steps.

name=pv1
log=/var/log/xen/console/guest-$name.log

step() { echo "@@ $*"; }
run() {
    echo "\$ $*"
    "$@" </dev/null >/tmp/out 2>/tmp/err
    rc=$?
    sed 's/^/out|/' /tmp/out
    sed 's/^/err|/' /tmp/err
    echo "rc=$rc"
    return $rc
}
holds() {
    what=$1
    shift
    if "$@" >/tmp/held 2>&1; then echo ": $what"; else echo "NO: $what"; sed 's/^/   /' /tmp/held; fi
}

# Until a command or function succeeds, at most so many times, a fifth of a second apart.
until_ok() {
    left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        usleep 200000
    done
}

tty() { xenstore-read "/local/domain/$(xl domid $name)/console/tty"; }
said() { [ "$(grep -c "$1" "$log")" -ge "${2:-1}" ]; }
# Types a line at the guest's shell and waits for a line of its answer.
guest() { echo "$1" >"$(tty)" && until_ok 150 said "$2"; }
boots() { grep -c 'guest: ready' "$log"; }
booted() { [ "$(boots)" -gt "$1" ]; }
memory() { [ "$(xl list $name | tail -n 1 | tr -s ' ' | cut -d' ' -f3)" = "$1" ]; }
state() { xl list "$1" >/tmp/row && cat /tmp/row && grep -q "$2" /tmp/row; }
gone() { ! xl domid "$1" >/dev/null 2>&1; }
free() { xl info | sed -n 's/^free_memory *: //p'; }
leftovers() {
    ls -d /sys/class/net/vif* 2>/dev/null
    losetup -a 2>/dev/null
    xenstore-list /local/domain | grep -v '^0$'
    for kind in vbd vif console; do xenstore-list /local/domain/0/backend/$kind 2>/dev/null; done
    return 0
}
clean() { [ -z "$(leftovers)" ]; }

make-disk
cp disk.img second.img
sed -i 's/^vcpus.*/vcpus = 2/' pv.cfg
before=$(free)

step nothing runs
run xl list
run xl vm-list
run xl info
run xl info -n
run xl uptime
run xl vcpu-list
run xl domid Domain-0
run xl domname 0
run xl sched-credit2
run xl sched-credit
run xl cpupool-list
run xl cpupool-list -c
run xl claims

step words that are wrong
run xl domid nobody
run xl domname 77
run xl list nobody
run xl destroy nobody
run xl destroy 0
run xl pause nobody
run xl console nobody
run xl shutdown nobody
run xl nosuchcommand
run xl create /root/none.cfg
run xl list --no-such-option
run xl network-list nobody
run xl block-list nobody
run xl mem-set nobody 100
run xl rename nobody somebody
run xl uptime nobody

step dry run
run xl create -n pv.cfg

step create
run xl create pv.cfg
holds "its shell is reached" until_ok 1500 booted 0
run xl list
run xl list $name
run xl list -v $name
run xl vm-list
run xl domid $name
run xl domname "$(xl domid $name)"
run xl vcpu-list $name
run xl block-list $name
run xl network-list $name
run xl uptime $name
run xl create pv.cfg
run xenstore-read "/local/domain/$(xl domid $name)/name"
run xenstore-ls -f "/local/domain/$(xl domid $name)/device"
run xenstore-ls -f "/local/domain/0/backend"

step console and disk
holds "the guest answers" guest 'echo answer=$((6*7)).' 'answer=42\.'
holds "its disk has dom0's line" guest 'head -c 21 /dev/xvda; echo' 'ferroxen example disk'
holds "it writes to its disk" guest 'echo by-guest | dd of=/dev/xvda bs=512 seek=8 conv=fsync; echo wrote=$((0)).' 'wrote=0\.'
holds "dom0 sees what it wrote" sh -c 'dd if=disk.img bs=512 skip=8 count=1 2>/dev/null | grep -q by-guest'
timeout 30 xl console $name </dev/null >/tmp/console 2>&1 &
watcher=$!
holds "the client shows what is there" until_ok 100 grep -q 'guest# ' /tmp/console
holds "the guest says something" guest 'echo typed=$((7*7)).' 'typed=49\.'
holds "the client shows it" until_ok 50 grep -q 'typed=49\.' /tmp/console
kill $watcher 2>/dev/null
wait $watcher 2>/dev/null

step network
holds "it answers pings" retry 50 ping -c 1 -W 1 10.77.0.2
head -c 1048576 /dev/urandom >/tmp/sent
holds "it listens" guest '(nc -l -p 7000 >/tmp/b; nc -l -p 7001 </tmp/b) & echo armed=$((1)).' 'armed=1\.'
holds "a mebibyte goes there by TCP" nc -w 20 10.77.0.2 7000 </tmp/sent
holds "and comes back" sh -c 'retry 50 nc -w 20 10.77.0.2 7001 >/tmp/back && cmp /tmp/sent /tmp/back'

# The short form ends here.
if [ "$CELLS" = short ]; then
    step the end
    run xl destroy $name
    holds "nothing is left" until_ok 100 clean
    run xl list
    exit 0
fi

step pause and unpause
run xl pause $name
# It may have been waiting for something.
holds "its state has a p" state $name ' -[b-]p--- '
run xl pause $name
run xl unpause $name
run xl unpause $name
holds "it answers pings" retry 50 ping -c 1 -W 1 10.77.0.2

step memory
run xl mem-set $name 128
holds "it gives memory up" until_ok 100 memory 128
run xl mem-set $name 160m
holds "it takes some back" until_ok 100 memory 160
run xl mem-max $name 200
run xl mem-set $name 250
run xl mem-set $name nonsense
run xl mem-set $name 192
holds "it takes the rest back" until_ok 100 memory 192

step CPUs
holds "the guest has two" guest 'echo cpus=$(nproc)=.' 'cpus=2=\.'
run xl vcpu-set $name 1
holds "it gives one up" guest 'for i in 1 2 3 4 5 6 7 8 9; do [ $(nproc) = 1 ] && break; sleep 1; done; echo cpus=$(nproc)=.' 'cpus=1=\.'
run xl vcpu-list $name
run xl vcpu-set $name 2
run xl vcpu-set -i $name 2
# No daemon is there that takes a new CPU into use.
holds "it takes it back" guest 'for i in 1 2 3 4 5 6 7 8 9; do { echo 1 >/sys/devices/system/cpu/cpu1/online; } 2>/dev/null; [ $(nproc) = 2 ] && break; sleep 1; done; echo again=$(nproc)=.' 'again=2=\.'
run xl vcpu-set $name 9
run xl vcpu-pin $name 0 0
run xl vcpu-list $name
run xl vcpu-pin $name all all
run xl vcpu-pin $name 5 0
run xl sched-credit2 -d $name
run xl sched-credit2 -d $name -w 512
run xl sched-credit2 -d $name

step attach and detach
run xl block-attach $name file:/root/second.img,xvdb,w
holds "the guest finds the second disk" guest 'for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/xvdb ] && break; sleep 1; done; head -c 21 /dev/xvdb; echo second=$((2)).' 'second=2\.'
run xl block-list $name
run xl block-attach $name file:/root/second.img,xvdb,w
run xl block-detach $name xvdb
holds "it is gone from the list" sh -c "! xl block-list $name | grep -q 51728"
run xl block-detach $name xvdb
run xl network-attach $name bridge=xenbr0 mac=00:16:3e:77:00:09
holds "the guest finds the second interface" guest 'for i in 1 2 3 4 5 6 7 8 9; do [ -d /sys/class/net/eth1 ] && break; sleep 1; done; cat /sys/class/net/eth1/address' '00:16:3e:77:00:09'
run xl network-list $name
run xl network-detach $name 1
holds "it is gone from the list" sh -c "! xl network-list $name | grep -q 77:00:09"
run xl network-detach $name 1

step rename
run xl rename $name other
run xl domid other
run xl rename other $name

step save and restore
holds "the guest keeps a word" guest 'kept=4711; echo kept=$((1)).' 'kept=1\.'
run xl save $name /run/saved
holds "it is gone" gone $name
holds "nothing is left" until_ok 100 clean
run xl restore /run/saved
holds "it goes on where it was" guest 'echo restored=$kept.' 'restored=4711\.'
holds "it answers pings" retry 50 ping -c 1 -W 1 10.77.0.2
holds "it reads its disk" guest 'head -c 21 /dev/xvda >/dev/null; echo disk=$?.' 'disk=0\.'
rm -f /run/saved

step reboot
count=$(boots)
old=$(xl domid $name)
run xl reboot $name
holds "it boots again" until_ok 1500 booted "$count"
holds "as another domain" sh -c "[ $old != \$(xl domid $name) ]"
holds "it answers pings" retry 50 ping -c 1 -W 1 10.77.0.2

step shutdown
run xl shutdown -w $name
holds "it is gone" until_ok 100 gone $name
holds "nothing is left" until_ok 100 clean

step crash with restart
sed -e 's/GUEST_DISK=xvda/sysrq_always_enabled/; /^disk/d; s/^on_crash.*/on_crash = "restart"/' pv.cfg >crash.cfg
count=$(boots)
run xl create -q crash.cfg
holds "its shell is reached" until_ok 1500 booted "$count"
count=$(boots)
run xl sysrq $name c
holds "it boots again" until_ok 1500 booted "$count"
run xl destroy $name
holds "it is gone" until_ok 100 gone $name

step created paused, destroyed at once
run xl create -p tiny.cfg
holds "its state has a p" state tiny ' --p--- '
run xl unpause tiny
run xl destroy tiny
holds "nothing is left" until_ok 100 clean

step the end
run xl list
run xl vm-list
after=$(free)
holds "the memory is back" [ $((before - after)) -le 2 ]
