# Two toolsets, one store: STORED names whose daemon runs. First both sets of xenstore-* are asked the same;
# then the daemon's strangers, the other set's xl, lead a guest's life; in its midst the guest is saved by ours
# and restored by theirs, saved by theirs and restored by ours. Prints the lines that cells.sh describes.

ours=/usr/lib/ferroxen/bin
theirs=/usr/lib/xen/bin
case $STORED in
    rust) stranger=$theirs ;;
    *) stranger=$ours ;;
esac
# The distribution's xenstore-* lie beside busybox.
their_clients=/usr/bin
name=pv1
log=/var/log/xen/console/guest-$name.log

sentence() { if [ "$1" = 0 ]; then echo ": $2"; else echo "NO: $2"; sed 's/^/   /' /tmp/said; fi; }
try() {
    what=$1
    shift
    "$@" >/tmp/said 2>&1
    sentence $? "$what"
}
xl() { "$stranger/xl" "$@"; }
by() { set_of=$1; shift; "$set_of/xl" "$@"; }

echo "@@ clients of the store"
# Under the same name: a client's complaint begins with it.
asked() { clients=$1; shift; PATH=$clients:$PATH "$@" </dev/null >/tmp/asked.out 2>/tmp/asked.err; echo "rc=$?" >>/tmp/asked.err; }
tree() {
    "$ours/xenstore-rm" /t 2>/dev/null
    "$ours/xenstore-write" /t/a 1 /t/a/deep/er/node value /t/empty '' /t/two 'two words' \
        /t/odd "$(printf 'tab\there\nline \\ back "quote" \303\244 \001')" /t/long "$long" /t/gone x
    "$ours/xenstore-chmod" /t/a n0 r1 b2
}
long=$(head -c 900 /dev/zero | tr '\0' x)
count=0
# same COMMAND...: both sets print the same bytes, end with the same code and leave the same store.
same() {
    count=$((count + 1))
    for clients in "$ours" "$their_clients"; do
        case $1 in xenstore-rm | xenstore-write | xenstore-chmod) tree ;; esac
        asked "$clients" "$@"
        "$ours/xenstore-ls" -f -p /t >/tmp/asked.tree 2>&1
        cat /tmp/asked.out >/tmp/asked.all
        echo "-- errors" >>/tmp/asked.all
        cat /tmp/asked.err /tmp/asked.tree >>/tmp/asked.all
        mv /tmp/asked.all "/tmp/asked.$(echo "$clients" | tr / _)"
    done
    cmp -s /tmp/asked._usr_lib_ferroxen_bin /tmp/asked._usr_bin && return
    { echo "$*"; diff /tmp/asked._usr_lib_ferroxen_bin /tmp/asked._usr_bin; } >>/tmp/differ
}
mkdir -p /tmp/probe
printf '#!/bin/sh\necho probe\n' >/tmp/probe/xenstore-read
chmod +x /tmp/probe/xenstore-read
asked /tmp/probe xenstore-read /t/a
cp /tmp/asked.out /tmp/said
grep -q probe /tmp/asked.out; sentence $? "the set that is meant is asked"
: >/tmp/differ
tree
for path in / /t /t/a /t/none; do
    for client in list "list -p" ls "ls -f" "ls -p" "ls -f -p" read "read -p" exists; do same xenstore-$client $path; done
done
for path in /t/odd /t/empty /t/two /t/long /t/a/deep/er/node; do
    for client in read "read -p" "read -R" ls exists; do same xenstore-$client $path; done
done
same xenstore-read /t/a /t/two
same xenstore-read -p /t/a /t/none /t/two
same xenstore-read
same xenstore-list
same xenstore-exists /t/a /t/none
same xenstore-read t/relative
same xenstore-read '/t/bad path'
same xenstore-ls /local/domain/0
same xenstore-write /t/new/below 'a value' /t/second 2
same xenstore-write -R /t/raw '\x41\x00z'
same xenstore-write /t/odd
same xenstore-write '/t/bad path' x
same xenstore-rm /t/gone
same xenstore-rm -t /t/a/deep/er/node
same xenstore-rm /t/none
same xenstore-rm /t/gone /t/a
same xenstore-chmod /t/two r3
same xenstore-chmod -r /t/a n1 b2 w3
same xenstore-chmod -u /t/a/deep r4
same xenstore-chmod /t/none r1
same xenstore-chmod /t/two x1
same xenstore-watch -n 1 /t/a
same xenstore-watch -n 2 /t/a /t/none
cp /tmp/differ /tmp/said
[ $count -gt 70 ] && [ ! -s /tmp/differ ]; sentence $? "both sets print, answer and leave the same on each command line"
sees() {
    PATH=$1:$PATH xenstore-watch -n 2 /t/watched >/tmp/events 2>&1 &
    watcher=$!
    retry 50 grep -q /t/watched /tmp/events && PATH=$2:$PATH xenstore-write /t/watched/below x && retry 50 grep -q /t/watched/below /tmp/events
    seen=$?
    kill $watcher 2>/dev/null
    wait $watcher 2>/dev/null
    [ $seen = 0 ] || cat /tmp/events
    return $seen
}
try "one set sees what the other writes" sees "$ours" "$their_clients"
try "and the other way round" sees "$their_clients" "$ours"
"$ours/xenstore-rm" /t

tty() { xenstore-read "/local/domain/$(by $ours domid $name)/console/tty"; }
guest() { echo "$1" >"$(tty)" && retry 150 grep -q "$2" "$log"; }
ticks() { grep -c 'tick=[0-9]*\.' "$log"; }
# The guest's program has gone on since it was last looked at, from where it was.
goes_on() {
    before=$(ticks)
    retry 150 sh -c "[ \$(grep -c 'tick=[0-9]*\\.' $log) -gt $before ]" || return 1
    # Each number is said once, each the next of the one before.
    grep -o 'tick=[0-9]*\.' "$log" | tr -dc '0-9\n' >/tmp/ticks
    expected=1
    while read -r tick; do
        [ "$tick" = $expected ] || { echo "tick $tick came where $expected was due"; return 1; }
        expected=$((expected + 1))
    done </tmp/ticks
}
pings() { retry 50 ping -c 1 -W 1 10.77.0.2; }
cpus() { guest "echo cpus-$1=\$(nproc)=." "cpus-$1=2=\\."; }
disk() { guest "echo 3 >/proc/sys/vm/drop_caches; [ \"\$(head -c 21 /dev/xvda)\" = 'ferroxen example disk' ] && echo by-$1 | dd of=/dev/xvda bs=512 seek=8 conv=fsync; echo wrote-$1=\$?." "wrote-$1=0\\." && dd if=disk.img bs=512 skip=8 count=1 2>/dev/null | grep "by-$1"; }
leftovers() {
    ls -d /sys/class/net/vif* 2>/dev/null
    losetup -a 2>/dev/null
    xenstore-list /local/domain | grep -v '^0$'
    for kind in vbd vif console; do xenstore-list /local/domain/0/backend/$kind 2>/dev/null; done
    xenstore-list /libxl 2>/dev/null | grep -v '^0$'
    return 0
}
nothing_left() {
    left=100
    while [ -n "$(leftovers)" ]; do
        left=$((left - 1))
        [ $left -gt 0 ] || { leftovers; return 1; }
        usleep 200000
    done
}
both() { by $ours "$@" >/tmp/by.ours && by $theirs "$@" >/tmp/by.theirs && diff /tmp/by.ours /tmp/by.theirs; }

echo "@@ a guest of the other set's xl"
make-disk
cp disk.img second.img
sed -i 's/^vcpus.*/vcpus = 2/; s/^memory.*/memory = 128/' pv.cfg
try "it is created" xl create pv.cfg
try "it boots" retry 900 grep -q 'guest: ready' "$log"
try "both sets list its disk alike" both block-list $name
try "both sets list its interface alike" both network-list $name
try "both sets know its number" both domid $name
# But for its momentary state and its time.
row() { by "$1" list $name | cut -c1-58; }
listed() { row $ours >/tmp/by.ours; row $theirs | diff /tmp/by.ours - && grep "^$name " /tmp/by.ours; }
try "both sets list it alike" listed
shown() {
    timeout 30 "$stranger/xl" console $name </dev/null >/tmp/console 2>&1 &
    watcher=$!
    # What it says is shown once the client is there.
    retry 100 grep -q 'guest# ' /tmp/console && guest 'echo typed=$((7*7)).' 'typed=49\.' && retry 50 grep -q 'typed=49\.' /tmp/console
    seen=$?
    kill $watcher 2>/dev/null
    wait $watcher 2>/dev/null
    return $seen
}
try "its console is shown" shown
try "a disk is attached" xl block-attach $name file:/root/second.img,xvdb,w
try "the guest finds it" guest 'for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/xvdb ] && break; sleep 1; done; head -c 21 /dev/xvdb; echo second=$((2)).' 'second=2\.'
try "and it is detached" xl block-detach $name xvdb
try "an interface is attached" xl network-attach $name bridge=xenbr0 mac=00:16:3e:77:00:09
try "the guest finds it" guest 'for i in 1 2 3 4 5 6 7 8 9; do [ -d /sys/class/net/eth1 ] && break; sleep 1; done; cat /sys/class/net/eth1/address' '00:16:3e:77:00:09'
try "and it is detached" xl network-detach $name 1

echo "@@ saved by ours, restored by theirs"
try "a program runs in it" guest 'i=0; while :; do i=$((i+1)); echo tick=$i.; sleep 1; done &' 'tick=3\.'
try "it is saved" by $ours save $name /run/saved
try "it is gone" retry 50 sh -c "! $ours/xl domid $name"
try "it is restored" by $theirs restore /run/saved
rm -f /run/saved
try "its program goes on where it was" goes_on
try "it has both CPUs" cpus a
try "it reads and writes its disk" disk a
try "it answers pings" pings

echo "@@ saved by theirs, restored by ours"
try "it is saved" by $theirs save $name /run/saved
try "it is gone" retry 50 sh -c "! $theirs/xl domid $name"
try "it is restored" by $ours restore /run/saved
rm -f /run/saved
try "its program goes on where it was" goes_on
try "it has both CPUs" cpus b
try "it reads and writes its disk" disk b
try "it answers pings" pings
try "both sets list its disk alike" both block-list $name

echo "@@ the end"
try "it is shut down by the other set's xl" xl shutdown -w $name
try "nothing is left" nothing_left
try "a second one is created" xl create -p tiny.cfg
try "and destroyed" xl destroy tiny
try "nothing is left" nothing_left
exit 0
