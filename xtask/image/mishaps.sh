# What a new user does wrong, and what happens to a host, with our tools: each is told in seconds what is
# wrong and what to do, and leaves nothing behind. Prints the lines that cells.sh describes.

sentence() { if [ "$1" = 0 ]; then echo ": $2"; else echo "NO: $2"; sed 's/^/   /' /tmp/said; fi; }
# What a mishap must not change.
state() {
    xenstore-list /local/domain
    xenstore-ls /local/domain/0/backend 2>/dev/null
    xenstore-list /libxl 2>/dev/null
    losetup -a 2>/dev/null
    ls -d /sys/class/net/vif* 2>/dev/null
    ls /var/lib/xen 2>/dev/null
    xl info | grep -E '^(free_memory|outstanding_claims)'
    ps | grep -v timeout | grep -c '[x]l '
}
# wrong WHAT CAUSE CURE COMMAND...: the command fails within five seconds, names cause and cure.
wrong() {
    what=$1 cause=$2 cure=$3
    shift 3
    state >/tmp/state.before
    begin=$(cut -d. -f1 /proc/uptime)
    timeout 20 "$@" </dev/null >/tmp/said 2>&1
    rc=$?
    took=$(($(cut -d. -f1 /proc/uptime) - begin))
    echo "rc=$rc after $took s" >>/tmp/said
    bad=0
    [ $rc != 0 ] && [ $rc -lt 126 ] && [ $took -le 5 ] || bad=1
    grep -qE -e "$cause" /tmp/said || { bad=1; echo "no word of: $cause" >>/tmp/said; }
    grep -qE -e "$cure" /tmp/said || { bad=1; echo "no word of: $cure" >>/tmp/said; }
    state >/tmp/state.after
    diff /tmp/state.before /tmp/state.after >>/tmp/said || bad=1
    sentence $bad "$what"
}
# cfg EDIT...: the example with these edits by sed, without network and disk unless kept.
cfg() { sed "$@" pv.cfg >/tmp/bad.cfg; }

make-disk
echo "@@ files that are wrong"
wrong "a missing file" 'none\.cfg' 'No such file|there is no' xl create /root/none.cfg
wrong "a folder in a file's place" '/root' 'directory' xl create /root
cfg 's/^ramdisk/initrd/'; wrong "initrd for ramdisk" 'initrd' 'ramdisk' xl create /tmp/bad.cfg
cfg 's/^memory.*/memory = "512M"/'; wrong "a suffix at memory" 'memory' 'MiB' xl create /tmp/bad.cfg
cfg '/^name/d'; wrong "no name" 'name' 'name *=' xl create /tmp/bad.cfg
cfg 's/^vcpus.*/vcpus = many/'; wrong "a word without quotes" 'bad\.cfg:[0-9]+' 'many' xl create /tmp/bad.cfg
cfg 's,^kernel.*,kernel = "/boot/vmlinux",'; wrong "a kernel that is not there" '/boot/vmlinux' 'vmlinuz|No such file|there is no' xl create /tmp/bad.cfg
cfg 's,^kernel.*,kernel = "/etc/passwd",'; wrong "a kernel that is none" '/etc/passwd' 'kernel' xl create /tmp/bad.cfg
head -c 3000000 /boot/vmlinuz >/tmp/cut; cfg 's,^kernel.*,kernel = "/tmp/cut",'; wrong "a kernel cut off" '/tmp/cut' 'truncated|cut|short|incomplete|ends|damaged' xl create /tmp/bad.cfg
cfg 's,/root/disk.img,/root/disc.img,'; wrong "a disk that is not there" '/root/disc\.img' 'disk\.img|No such file|there is no' xl create /tmp/bad.cfg
cfg 's/xenbr0/xenbr7/'; wrong "a bridge that is not there" 'xenbr7' 'xenbr0|brctl|ip link|bridge' xl create /tmp/bad.cfg
cfg 's/^memory.*/memory = 65536/'; wrong "more memory than there is" '65536|MiB' 'free' xl create /tmp/bad.cfg
cfg 's/^type.*/type = "hvm"/'; wrong "a kind that is not there yet" 'hvm' 'not supported|not implemented|pv' xl create /tmp/bad.cfg
cfg 's/raw,xvda/qcow2,xvda/'; wrong "a format that is not there yet" 'qcow2' 'raw|not supported|not implemented' xl create /tmp/bad.cfg

echo "@@ words that are wrong"
wrong "a command that does not exist" 'destory' 'destroy' xl destory pv1
wrong "a command not there yet" 'migrate' 'not supported|not implemented' xl migrate pv1 host
wrong "no such guest" 'nobody' 'xl list|no (guest|domain)' xl pause nobody
wrong "an option that does not exist" 'no-such' 'help' xl list --no-such
wrong "an argument too few" 'pause' 'Usage|help' xl pause
wrong "a size that is none" 'lots' 'MiB|KiB|m, g|suffix|number|invalid' xl mem-set 0 lots
wrong "dom0 cannot be destroyed" '[Dd]omain.0' '-f' xl destroy 0
wrong "a save file that is none" 'passwd' 'save' xl restore /etc/passwd
head -c 100 /dev/zero >/tmp/zeros; wrong "a save file of zeros" 'zeros' 'save' xl restore /tmp/zeros

echo "@@ a guest that is there already"
# Small: what is saved lies in dom0's memory.
sed -e 's/^memory.*/memory = 128/' pv.cfg >first.cfg
xl create first.cfg >/tmp/said 2>&1; sentence $? "the guest is created"
retry 900 grep -q 'guest: ready' /var/log/xen/console/guest-pv1.log >/tmp/said 2>&1; sentence $? "it boots"
wrong "a name in use" 'pv1' 'in use|exists|another name|already' xl create pv.cfg
sed 's/pv1/pv2/; s/77:00:02/77:00:03/' pv.cfg >/tmp/bad.cfg
wrong "a disk in use" 'disk\.img.*pv1|pv1.*disk\.img|in use' 'w!|read-only|shared|share' xl create /tmp/bad.cfg
cp disk.img other.img
wrong "a device that is attached already" 'xvda' 'already|exists|in use' xl block-attach pv1 file:/root/other.img,xvda,w
wrong "a device that is not attached" 'xvdq' 'block-list|no |not ' xl block-detach pv1 xvdq
wrong "more memory than the guest may have" 'pv1|250' 'maxmem|mem-max' xl mem-set pv1 250
wrong "a vCPU that it has not" '5' 'vcpu|vCPU|VCPU' xl vcpu-pin pv1 5 0
wrong "more vCPUs than it has" '9' 'maxvcpus|most|max' xl vcpu-set -i pv1 9
wrong "a file system that is full" '/full' 'No space|free there' sh -c 'mkdir -p /full && mount -t tmpfs -o size=1m none /full; xl save pv1 /full/saved; rc=$?; umount /full; exit $rc'
xl list pv1 | grep -qE ' [r-][b-]---- ' ; sentence $? "the guest runs on after a save that failed"
retry 100 ping -c 1 -W 1 10.77.0.2 >/tmp/said 2>&1; sentence $? "it answers pings"
xl save pv1 /run/saved >/tmp/said 2>&1; sentence $? "the guest is saved"
head -c 5000000 /run/saved >/tmp/half; wrong "a save file cut off" 'half' 'cut off|ends|truncated|incomplete' xl restore /tmp/half
xl restore /run/saved >/tmp/said 2>&1; sentence $? "the whole one is restored"
rm -f /run/saved /tmp/half
retry 100 ping -c 1 -W 1 10.77.0.2 >/tmp/said 2>&1; sentence $? "it answers pings"
xl destroy pv1 >/tmp/said 2>&1; sentence $? "and is destroyed"

echo "@@ daemons that are stopped"
# What asks the store for its state cannot be part of it here.
state() { :; }
kill $(cat /run/xenconsoled.pid); retry 50 sh -c '! pidof xenconsoled >/dev/null'
xl create -p tiny.cfg >/tmp/said 2>&1
wrong "a console without its daemon" 'xenconsoled' 'start|run' xl console tiny
xl destroy tiny >/tmp/said 2>&1
xenconsoled --log=all --log-dir=/var/log/xen/console --pid-file=/run/xenconsoled.pid >/tmp/said 2>&1; sentence $? "the console daemon starts again"
kill -9 $(pidof xenstored)
wrong "a creation without the store's daemon" 'xenstored' 'start|run|systemctl' xl create tiny.cfg
wrong "a shutdown without it" 'xenstored' 'start|run|systemctl' xl shutdown pv1
# Its words are those of Xen's, which scripts know.
wrong "the store's client without it" 'xs_open' 'Connection refused' xenstore-ls
xenstored --pid-file /run/xenstored.pid >/tmp/said 2>&1; sentence $? "it starts again"
retry 50 xenstore-read /local/domain/0/name >/tmp/said 2>&1; sentence $? "it has what it had"
mv /dev/xen/privcmd /dev/xen/hidden; mount -t tmpfs none /proc/xen
wrong "a system that is not Xen" 'privcmd' 'Xen|modprobe' xl list
umount /proc/xen; mv /dev/xen/hidden /dev/xen/privcmd
exit 0
