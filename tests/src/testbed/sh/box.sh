# A runtime of containers in the namespaces of a bed, with an image that is made of this machine's own programs and
# needs no registry. Run in the root of a namespace of control groups of its own. Arguments: docker or podman, the names of
# the hierarchies of control groups (none: they are of version 2), a program that must run in the image. Says `up` when it
# runs; ends with the bed.
set -eu
kind=$1 groups=$2 program=$3
# What is written outside the bed's own folders stays in the bed, and the system's devices are the bed's.
for folder in etc var; do
    mkdir -p "/mnt/over/$folder" "/mnt/work/$folder"
    mount -t overlay -o "lowerdir=/$folder,upperdir=/mnt/over/$folder,workdir=/mnt/work/$folder" over "/$folder"
done
mkdir -p /mnt/disk
# The groups that were made for the bed are all that it sees, so that what its containers leave is in them.
mount -t sysfs sysfs /sys
if [ -n "$groups" ]; then
    mount -t tmpfs -o mode=755 groups /sys/fs/cgroup
    for name in $groups; do
        mkdir "/sys/fs/cgroup/$name"
        case $name in systemd) option=none,name=systemd ;; *) option=$name ;; esac
        mount -t cgroup -o "$option" "$name" "/sys/fs/cgroup/$name"
        echo "/sys/fs/cgroup/$name"
    done >/run/groups
else
    mount -t cgroup2 groups /sys/fs/cgroup
    # A group that has processes itself limits none below it.
    mkdir /sys/fs/cgroup/init
    echo 0 >/sys/fs/cgroup/init/cgroup.procs
    for name in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$name" >/sys/fs/cgroup/cgroup.subtree_control || :
    done
    echo /sys/fs/cgroup/init >/run/groups
fi
echo $$ >/run/box

root=/mnt/disk/root
mkdir -p "$root/usr/bin" "$root/usr/lib64" "$root/usr/lib" "$root/etc" "$root/root" "$root/home/ubuntu" "$root/tmp" "$root/proc" \
    "$root/sys" "$root/dev" "$root/run" "$root/var/tmp"
for folder in bin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
ln -s bin "$root/usr/sbin"
chmod 1777 "$root/tmp" "$root/var/tmp"
for tool in sh cat mkdir mv rm chmod sleep wc kill id env printf ls head tail readlink touch true test setsid nohup flock sed grep \
    awk tar gzip sha256sum sort tr uname stat ln rmdir mktemp date cut; do
    cp -L "$(command -v "$tool")" "$root/usr/bin/$tool" 2>/dev/null || [ "$(command -v "$tool")" = "$tool" ]
done
ldd "$root"/usr/bin/* "$program" 2>/dev/null | grep -o '/[^ ):]*' | grep '/lib' | grep -v "^$root" | sort -u | while read -r library; do
    to=$root/usr/${library#/}
    to=$(printf %s "$to" | sed 's,/usr/usr/,/usr/,')
    mkdir -p "${to%/*}"
    cp -L "$library" "$to"
done
printf '%s\n' root:x:0:0:root:/root:/bin/sh ubuntu:x:1000:1000::/home/ubuntu:/bin/sh >"$root/etc/passwd"
printf '%s\n' root:x:0: ubuntu:x:1000: >"$root/etc/group"
chown 1000:1000 "$root/home/ubuntu"
chmod 700 "$root/root" "$root/home/ubuntu"

if [ "$kind" = docker ]; then
    dockerd --data-root /mnt/disk/docker --exec-root /run/docker --pidfile /run/docker.pid --host unix:///run/docker.sock \
        --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs \
        --bip 10.204.0.1/24 --default-address-pool base=10.205.0.0/16,size=24 --log-level warn </dev/null >/run/dockerd.log 2>&1 &
    server=$!
    tries=0
    until docker --host unix:///run/docker.sock version >/dev/null 2>&1; do
        tries=$((tries + 1))
        kill -0 "$server" 2>/dev/null && [ "$tries" -lt 600 ] || { tail -n 20 /run/dockerd.log >&2; exit 1; }
        sleep 0.1
    done
    export DOCKER_HOST=unix:///run/docker.sock
else
    # By itself it limits the number of processes, also where the kernel gives the bed nothing to do that with.
    pids=''
    [ -d /sys/fs/cgroup/pids ] || grep -qw pids /sys/fs/cgroup/cgroup.controllers || pids='pids_limit = 0'
    cat >/run/containers.conf <<C
[containers]
$pids
default_ulimits = ["nofile=16384:16384", "nproc=8192:8192"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "/run/networks"
default_subnet = "10.203.0.0/24"
default_subnet_pools = [{"base" = "10.206.0.0/16", "size" = 24}]
C
    printf '[storage]\ndriver = "overlay"\ngraphroot = "/mnt/disk/graph"\nrunroot = "/run/podman"\n' >/run/storage.conf
    export CONTAINERS_CONF=/run/containers.conf CONTAINERS_STORAGE_CONF=/run/storage.conf
fi
tar -C "$root" -c . | "$kind" import - skyward-test/box:1 >/dev/null
# Another image, whose C library has its loader elsewhere: to programs that know only the usual place it is as musl's.
for loader in $(find "$root/usr" -name 'ld-linux-*'); do mv "$loader" "${loader%/*}/od-linux-${loader##*/ld-linux-}"; done
find "$root/usr/bin" -type f -exec env LC_ALL=C sed -i 's,/ld-linux-,/od-linux-,' {} +
tar -C "$root" -c . | "$kind" import - skyward-test/other:1 >/dev/null
rm -rf "$root"
echo up
exec cat >/dev/null
