# Our daemons and tools killed (9) under guests that work: the guests go on, and all works after a
# restart. Prints the lines that cells.sh describes.

sentence() { if [ "$1" = 0 ]; then echo ": $2"; else echo "NO: $2"; sed 's/^/   /' /tmp/said; fi; }
try() {
    what=$1
    shift
    "$@" >/tmp/said 2>&1
    sentence $? "$what"
}
guests="1 2 3 4"
all() { for n in $guests; do "$@" $n || return 1; done; }
log() { echo /var/log/xen/console/guest-g$1.log; }
ready() { retry 1500 grep -q 'guest: ready' "$(log $1)"; }
pings() { retry 50 ping -c 1 -W 1 10.77.0.1$1; }
# Each guest writes to its disk without end, and says so now and then.
count() { grep -c 'round done' "$(log $1)"; }
works() { before=$(count $1); retry 300 sh -c "[ \$(grep -c 'round done' $(log $1)) -gt $before ]"; }
tty() { xenstore-read "/local/domain/$(xl domid g$1)/console/tty"; }
load() { echo 'while dd if=/dev/zero of=/dev/xvda bs=64k count=64 seek=1 conv=fsync 2>/dev/null; do echo round done; sleep 1; done &' >"$(tty $1)"; }
make() {
    make-disk
    mv disk.img g$1.img
    sed -e "s/pv1/g$1/; s/10.77.0.2/10.77.0.1$1/; s/77:00:02/77:00:1$1/; s,/root/disk,/root/g$1," \
        -e 's/^memory.*/memory = 128/; s/^on_crash.*/on_crash = "restart"/' pv.cfg >g$1.cfg
    xl create g$1.cfg
}
again() { until "$@"; do sleep 1; left=$((left - 1)); [ $left -gt 0 ] || return 1; done; }
answers() { echo "echo answer=\$(($1*11))." >"$(tty $1)" && retry 100 grep -q "answer=$(($1 * 11))\." "$(log $1)"; }

echo "@@ four guests that work"
try "they are created" all make
try "they boot" all ready
try "they are given work" all load
try "they work" all works

echo "@@ xenstored killed"
kill -9 $(pidof xenstored)
try "guests work on without it" all works
try "it starts again" xenstored --pid-file /run/xenstored.pid
try "it has the guests" retry 50 xenstore-read "/local/domain/$(xl domid g4)/name"
try "guests work on" all works
try "guests answer pings" all pings
try "a guest's own requests are answered" sh -c 'xl mem-set g1 112; retry 100 sh -c "xl list g1 | tail -n 1 | grep -q \" 112 \""'
try "a second disk is attached" sh -c 'cp g1.img second.img; xl block-attach g2 file:/root/second.img,xvdb,w && retry 100 sh -c "xl block-list g2 | grep -q \"^51728 .* 4 \""'
try "and detached" xl block-detach g2 xvdb

echo "@@ xenconsoled killed"
kill -9 $(pidof xenconsoled)
try "it starts again" xenconsoled --log=all --log-dir=/var/log/xen/console --pid-file=/run/xenconsoled.pid
left=60
try "each console answers" again all answers
try "guests work on" all works

echo "@@ monitors killed"
pkill -9 -f 'xl monitor' 2>/dev/null || kill -9 $(ps | sed -n 's/^ *\([0-9]*\) .*xl.* monitor .*/\1/p')
try "guests work on" all works
try "xl doctor notices" sh -c 'xl doctor | grep -i monitor'
try "a guest is shut down all the same" sh -c 'xl shutdown -w g1 && xl destroy g1 && until-gone g1'
try "the others are destroyed" sh -c 'for n in 2 3 4; do xl destroy g$n || exit 1; done'
try "a new one is made and runs" sh -c 'xl create tiny.cfg && until-gone tiny 120'

echo "@@ xl killed while it creates"
sed -e '/^vif/d' -e 's/GUEST_IP=10.77.0.2//' pv.cfg >victim.cfg
make-disk
begin=$(tr -d . </proc/uptime | cut -d' ' -f1)
xl create -p victim.cfg >/tmp/said 2>&1; sentence $? "a guest is created"
took=$(($(tr -d . </proc/uptime | cut -d' ' -f1) - begin))
xl destroy pv1 >/tmp/said 2>&1; sentence $? "and destroyed"
free() { xl info | sed -n 's/^free_memory *: //p'; }
leftovers() {
    losetup -a 2>/dev/null
    xenstore-list /local/domain | grep -v '^0$'
    xenstore-ls /local/domain/0/backend 2>/dev/null | grep state
    return 0
}
before=$(free)
turn=1
killed=0
while [ $killed -lt 50 ] && [ $turn -le 150 ]; do
    xl create -p victim.cfg >/tmp/said 2>&1 &
    making=$!
    # At moments spread over the time that it takes.
    usleep $((took * 10000 * (turn * 7 % 50) / 50))
    kill -9 $making 2>/dev/null && killed=$((killed + 1))
    wait $making 2>/dev/null
    turn=$((turn + 1))
    # Whole guests are guests; what is not whole, the next creation removes.
    xl destroy pv1 >/dev/null 2>&1
done
echo "$killed times in $turn turns" >/tmp/said
[ $killed = 50 ]; sentence $? "it was killed at fifty moments in its midst"
try "the next creation works" xl create -p victim.cfg
try "and its end" xl destroy pv1
try "nothing is left" sh -c 'retry 50 sh -c "[ \$(xl list | wc -l) = 2 ]"'
leftovers >/tmp/said; [ ! -s /tmp/said ]; sentence $? "no loop device, no node is left"
after=$(free); echo "$before MiB were free, then $after" >/tmp/said
[ $((before - after)) -le 2 ]; sentence $? "the memory is back"
exit 0
