# A guest's life after its creation: its end in every way, its devices, saving that is cut short, start and
# end with the host, memory from domain 0. Prints the lines that cells.sh describes.

sentence() { if [ "$1" = 0 ]; then echo ": $2"; else echo "NO: $2"; sed 's/^/   /' /tmp/said; fi; }
try() {
    what=$1
    shift
    "$@" >/tmp/said 2>&1
    sentence $? "$what"
}
# says WHAT TEXT COMMAND...: the command fails, and says this.
says() {
    what=$1 text=$2
    shift 2
    bad=0
    "$@" >/tmp/said 2>&1 && bad=1
    grep -qE -e "$text" /tmp/said || bad=1
    sentence $bad "$what"
}
log() { echo /var/log/xen/console/guest-$1.log; }
ready() { retry 900 grep -q 'guest: ready' "$(log $1)"; }
tty() { xenstore-read "/local/domain/$(xl domid $1)/console/tty"; }
# in_guest NAME COMMAND TEXT: what is typed there prints this, which is not what is typed.
in_guest() {
    echo "$2" >"$(tty $1)"
    retry 100 grep -qE "$3" "$(log $1)" || { tail -n 12 "$(log $1)"; return 1; }
}
gone() { ! xl domid "$1" >/dev/null 2>&1; }
# monitor NAME TEXT: the guest's monitor says this.
monitor() { retry 300 grep -qE "$2" "/var/log/xen/xl-$1.log" || { cat "/var/log/xen/xl-$1.log"; return 1; }; }
state() { retry 200 sh -c "xl list $1 | tail -n 1 | grep -q '$2'" || { xl list; return 1; }; }

# Kills a guest's monitor.
unwatch() { kill -9 $(sed -n 's/.*to die \[pid \([0-9]*\)\]$/\1/p' "/var/log/xen/xl-$1.log" | tail -n 1); }

# crashes NAME ACTION: a kernel that finds no root file system.
crashes() {
    printf '%s\n' "name='$1'" "kernel='/boot/vmlinuz'" "memory=80" \
        "extra='console=hvc0 root=/dev/none panic=0'" "on_crash='$2'" >"$1.cfg"
    xl create -q "$1.cfg"
}
# ends NAME PROGRAM KEY ACTION: a guest whose first program ends it.
ends() {
    printf '%s\n' "name='$1'" "kernel='/boot/vmlinuz'" "ramdisk='/boot/guest.cpio'" "memory=96" \
        "extra='console=hvc0 rdinit=/usr/sbin/$2'" "$3='$4'" >"$1.cfg"
    xl create -q "$1.cfg"
}

echo "@@ ends"
crashes c-preserve preserve && crashes c-core coredump-destroy
try "one that crashes is kept, and listed as crashed" state c-preserve ' ---sc- '
try "or destroyed when its memory is dumped" until-gone c-core
try "the dump is a core file" sh -c 'head -c 4 /var/lib/xen/dump/c-core | grep -q ELF && [ $(stat -c %s /var/lib/xen/dump/c-core) -ge 83886080 ]'
try "who looks for it later can dump the kept one, too" xl dump-core c-preserve /tmp/core
rm -f /tmp/core /var/lib/xen/dump/c-core
try "the kept one is destroyed" xl destroy c-preserve
crashes c-rename rename-restart
try "or kept under another name, and started again" monitor c-rename "is kept as c-rename-20"
try "each such kept guest has a name of its own" sh -c 'retry 300 sh -c "[ \$(xl list | grep -c \"^c-rename-20\") -ge 2 ]" && [ -z "$(xl list | cut -d" " -f1 | sort | uniq -d)" ]'
try "there are not more than two of them" monitor c-rename 'Enough of them are kept'
try "it is started again more slowly each time" monitor c-rename 'waiting for 4 s'
try "it is destroyed while it waits" retry 50 xl destroy c-rename
try "and is not started again" monitor c-rename 'was destroyed by somebody|has been destroyed'
try "it is gone, and those that were kept are there" sh -c '! xl domid c-rename && [ $(xl list | grep -c "^c-rename-20") = 2 ]'
destroy-all
crashes c-again coredump-restart
try "or dumped and started again" monitor c-again 'Done. Rebooting now'
try "the dump is where Xen has it" test -s /var/lib/xen/dump/c-again
unwatch c-again
destroy-all
rm -f /var/lib/xen/dump/*
ends p-restart poweroff on_poweroff restart
ends r-preserve reboot on_reboot preserve
try "one that powers off can be started again" monitor p-restart 'Done. Rebooting now'
try "one that reboots can be kept" state r-preserve ' ---sr- '
unwatch p-restart
destroy-all

echo "@@ devices"
make-disk
for n in a b c d; do dd if=disk.img of=$n.img bs=1M count=2 2>/dev/null; done
rm disk.img
device=$(losetup -f)
losetup $device b.img
# As a volume manager does it: a link with a name that means something.
mkdir -p /dev/vg0 && ln -s $device /dev/vg0/data
cat >pv1.cfg <<CFG
name = "pv1"
kernel = "/boot/vmlinuz"
ramdisk = "/boot/guest.cpio"
extra = "console=hvc0 GUEST_DISK=xvda GUEST_IP=10.77.0.2"
memory = 112
disk = [ "/root/a.img,raw,xvda,rw", "phy:vg0/data,sdb1,r", "file:/root/c.img,xvdc,w" ]
vif = [ "mac=00:16:3e:77:00:02,bridge=xenbr0,rate=10Mb/s,mtu=1400,vifname=lan0,model=e1000",
        "script=vif-route,gatewaydev=xenbr0,ip=10.88.0.2 10.88.1.0/24,mac=00:16:3e:77:00:05",
        "script=vif-nat,ip=10.99.0.1,backend=Domain-0" ]
driver_domain = 1
CFG
try "a guest with three disks and three interfaces is made" xl create pv1.cfg
try "it boots" ready pv1
domid=$(xl domid pv1)
vif() { xenstore-read "/local/domain/0/backend/vif/$domid/$1"; }
try "all its devices are connected" sh -c 'retry 100 sh -c "[ \$(xl block-list pv1 | grep -c \" 4 \") = 3 ] && [ \$(xl network-list pv1 | grep -c \" 4 \") = 3 ]"'
try "its disks have the names and contents that they should" in_guest pv1 'for d in xvdb1 xvdc; do head -c 21 /dev/$d; echo "=$d"; done' 'disk=xvdc'
try "a read-only disk cannot be written" in_guest pv1 'dd if=/dev/zero of=/dev/xvdb1 bs=512 count=1 conv=fsync; echo "ended=$?."' 'ended=1\.'
try "one that is not can" in_guest pv1 'echo changed | dd of=/dev/xvdc conv=fsync; echo "written=$?."' 'written=0\.'
try "and the file has it" grep -q changed c.img
try "an interface has its name, bridge and MTU in domain 0" sh -c '[ -e /sys/class/net/xenbr0/brif/lan0 ] && [ $(cat /sys/class/net/lan0/mtu) = 1400 ]'
try "rate and MTU are in the store" sh -c "[ $(vif 0/rate) = 62500,50000 ] && [ $(vif 0/mtu) = 1400 ]"
try "the routed one has domain 0's address and its routes" sh -c "ip address show vif$domid.1 | grep -q 'inet 10.77.0.1/32' && ip route | grep -q '10.88.0.2 dev vif$domid.1 .* src 10.77.0.1' && ip route | grep -q '10.88.1.0/24 dev vif$domid.1'"
try "domain 0 answers and forwards for it" sh -c "[ $(cat /proc/sys/net/ipv4/conf/vif$domid.1/proxy_arp)$(cat /proc/sys/net/ipv4/conf/vif$domid.1/forwarding) = 11 ]"
try "the one behind NAT has a router of its own" sh -c "ip address show vif$domid.2 | grep -q 'inet 10.99.0.128/32'"
try "the guest sets its interfaces up" in_guest pv1 'ip address add 10.88.0.2/32 dev eth1; ip link set eth1 up; ip address add 10.99.0.1/24 dev eth2; ip link set eth2 up; echo "net=$?."' 'net=0\.'
try "it answers on the bridge" retry 20 ping -c 1 -W 1 10.77.0.2
try "on the routed one" retry 20 ping -c 1 -W 1 10.88.0.2
try "and behind NAT" retry 20 ping -c 1 -W 1 10.99.0.1
try "a driver domain may write where its tools do" sh -c "xenstore-ls -fp /local/domain/$domid | grep -q 'device-model = \"\" *(n$domid)'"
other() { sed -e 's/pv1/pv2/' -e '/^vif/,/\]/d' -e "s|^disk.*|disk = [ '$1' ]|" pv1.cfg >pv2.cfg; xl create -q -p pv2.cfg; }
says "the same image for two that write is refused" 'pv1.*xvda.*w!' other /root/a.img,raw,xvda,rw
says "for one that reads, too" 'pv1.*read-write' other /root/a.img,raw,xvda,r
try "it is shared when both ask for it" other '/root/a.img,raw,xvda,w!'
try "that one goes" xl destroy pv2
try "two may read the same device" other phy:$device,xvda,r
try "and goes" xl destroy pv2
try "a disk is attached" sh -c 'xl block-attach pv1 file:/root/d.img,sdd,w && retry 100 sh -c "xl block-list pv1 | grep -q \"^2096 .* 4 \""'
try "and detached" xl block-detach pv1 sdd
try "a device is attached by its link" sh -c 'xl block-attach pv1 phy:/dev/vg0/data,xvdq,r && retry 100 sh -c "xl block-list pv1 | grep -q \"^268439552 .* 4 \""'
try "and detached by its number" xl block-detach pv1 268439552
try "a routed interface is attached" sh -c 'xl network-attach pv1 script=vif-route gatewaydev=xenbr0 ip=10.88.0.9 && ip route | grep -q "10.88.0.9 dev vif"'
try "and leaves no route when it is detached" sh -c 'xl network-detach pv1 3 && ! ip route | grep 10.88.0.9'
try "a guest that stands still loses an interface all the same" sh -c 'xl pause pv1 && xl network-detach pv1 2 && xl unpause pv1 && [ "$(xl network-list pv1 | wc -l)" = 3 ]'
says "one without an address to route from is refused" 'eth0.*gatewaydev' xl network-attach pv1 script=vif-route ip=10.88.0.9
says "one with a wrong address, too" '10\.88.*address' xl network-attach pv1 script=vif-route gatewaydev=xenbr0 ip=10.88

echo "@@ saving that is cut short"
# cut MS: a save, killed after these milliseconds.
cut() {
    xl save pv1 /tmp/saved >/tmp/save.said 2>&1 &
    saver=$!
    usleep ${1}000
    kill -9 $saver || { cat /tmp/save.said; return 1; }
    wait $saver 2>/dev/null
    return 0
}
for ms in 50 500; do
    try "a save is killed after $ms ms" cut $ms
    try "the guest goes on" sh -c "retry 100 sh -c '[ ! -e /run/xen/saving.$domid ]' && retry 50 ping -c 1 -W 1 10.77.0.2"
done
try "nothing is left of its file" sh -c '! ls /tmp/saved*'
unwatch pv1
try "a third is killed, and the guest's monitor was" cut 500
try "without its monitor xl doctor tells of it" sh -c 'xl doctor | grep "may be suspended"'
try "and xl unpause lets it go on" sh -c 'xl unpause pv1 && retry 50 ping -c 1 -W 1 10.77.0.2'
try "xl doctor gives it a monitor again" sh -c "xl doctor --cure 2>&1 | grep 'waits for the end of domain $domid'"
try "it is destroyed" xl destroy pv1
try "neither loop device, route nor interface is left" sh -c "[ \"\$(losetup -a | wc -l)\" = 1 ] && ! ip route | grep vif && ! ls -d /sys/class/net/vif* /sys/class/net/lan0 2>/dev/null"
losetup -d $device
rm -f ?.img

echo "@@ with the host"
mkdir -p /etc/xen/auto /etc/default
for n in 1 2; do
    printf '%s\n' "name='au$n'" "kernel='/boot/vmlinuz'" "ramdisk='/boot/guest.cpio'" "memory=96" \
        "extra='console=hvc0'" "nomigrate=$((n - 1))" >au$n.cfg
    ln -s /root/au$n.cfg /etc/xen/auto/1$n-au$n.cfg
done
printf '%s\n' XENDOMAINS_AUTO=/etc/xen/auto XENDOMAINS_SAVE=/var/lib/xen/save XENDOMAINS_RESTORE=true >/etc/default/xendomains
try "the guests that are linked are started" xendomains start
try "they boot" sh -c "retry 900 grep -q 'guest: ready' $(log au1) && retry 900 grep -q 'guest: ready' $(log au2)"
try "the status lists them" sh -c 'xendomains status | grep -q "^au2 "'
says "one that must not be saved is not" 'nomigrate' xl save au2 /tmp/saved
try "one remembers something" in_guest au1 'mark=$((6*7)); echo "mark=$mark."' 'mark=42\.'
try "they are saved and shut down" xendomains stop
try "none of them is left" sh -c '[ $(xl list | wc -l) = 2 ] && [ -s /var/lib/xen/save/au1 ] && [ ! -e /var/lib/xen/save/au2 ]'
try "they are restored and started" xendomains start
try "each is there, and no file any more" sh -c 'xl domid au1 && xl domid au2 && [ -z "$(ls /var/lib/xen/save)" ]'
try "the one that was saved remembers" in_guest au1 'echo "still=$mark."' 'still=42\.'
try "its kernel takes keys" sh -c "xl sysrq au1 h && retry 50 grep -q 'sysrq: ' $(log au1)"
echo 'echo c >/proc/sysrq-trigger' >"$(tty au1)"
try "when it crashes itself it is destroyed" until-gone au1
echo rubbish >/var/lib/xen/save/au1
says "one that cannot be restored is not started anew, and told of" 'remove it to start afresh' xendomains start
rm /var/lib/xen/save/au1
try "its configuration is replaced while it runs" xl config-update -q au2 au2.cfg memory=100
ready au2
xl reboot au2
try "and holds after the next reboot" state au2 ' 100 '
try "all are shut down and waited for" xl shutdown -a -w
try "they are gone" sh -c 'until-gone au1 && until-gone au2'

echo "@@ creation's options"
try "in the foreground until the guest ends" sh -c "xl create -F tiny.cfg name=\"'fore'\" >/tmp/fore && grep -q 'reason code 0' /tmp/fore && ! xl domid fore"
try "with its console from the first line on" sh -c 'xl create -q -c tiny.cfg </dev/null | grep -q "Linux version"'
until-gone tiny
try "unwatched, quietly, with a key on the command line" sh -c '[ -z "$(xl create -q -e tiny.cfg memory=90 2>&1)" ] && xl list tiny | grep -q " 90 "'
try "so that it stays when it ends" state tiny ' ---s-- '
try "it is destroyed" xl destroy tiny
says "no viewer where there is no frame buffer" 'frame buffer' xl create -V tiny.cfg
free=$(xl info | sed -n 's/^free_memory *: //p')
has=$(xl list 0 | awk 'END { print $3 }')
sed -i 's/autoballoon="off"/autoballoon="on"/' /etc/xen/xl.conf
try "domain 0 gives memory up for a guest where it may" xl create -q -p tiny.cfg memory=$((free + 40))
try "it has less then" sh -c "[ \$(xl list 0 | awk 'END { print \$3 }') -lt $has ]"
xl destroy tiny
says "but not more than it needs itself" 'must keep' xl create -q -p tiny.cfg memory=$((free + has - 100))
try "and gets it back by hand" sh -c "xl mem-set 0 $has && retry 100 sh -c '[ \$(xl list 0 | tail -n 1 | awk \"{ print \\\$3 }\") = $has ]'"
try "nothing is wrong in the end" sh -c 'xl doctor >/tmp/doctor; cat /tmp/doctor; grep "nothing is wrong" /tmp/doctor'
exit 0
