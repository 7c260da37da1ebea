# A host from its disk to the first process of its own: run in its network namespace, and in fresh ones of
# processes, mounts, names and messages. Arguments: name, and the text of its first process.
set -eu
hostname "$1"
cd "/mnt/$1"
mount --rbind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 local usr/local
mkdir -p usr/local/bin usr/local/sbin
for name in shutdown poweroff; do
    printf '#!/bin/sh\nkill -s USR1 1\n' >"usr/local/sbin/$name"
    chmod 755 "usr/local/sbin/$name"
    ln -s "../sbin/$name" "usr/local/bin/$name"
done
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
for name in null zero full random urandom tty; do
    : >"dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm .old
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ bash -c "$2" init
