# The disk of a host, as Debian would have installed it: the machine's own programs, read-only, and all else
# fresh. Arguments: name, size in MiB, the public key to let in, address.
set -eu
root=/mnt/$1
mkdir -p "$root"
mount -t tmpfs -o "size=${2}m,mode=755" "$1" "$root"
cd "$root"
mkdir -p usr etc/ssh/sshd_config.d root/.ssh home/ubuntu/.ssh var/log var/lib var/tmp var/cache run proc sys dev tmp opt \
    srv mnt media
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$folder"; done
ln -s /run var/run
chmod 1777 tmp var/tmp
for file in pam.d pam.conf security ssl ca-certificates alternatives ld.so.cache ld.so.conf ld.so.conf.d login.defs \
    shells services protocols profile bash.bashrc skel debian_version localtime ssh/moduli ssh/ssh_config; do
    [ ! -e "/etc/$file" ] || cp -a "/etc/$file" "etc/$file"
done
cp /usr/share/openssh/sshd_config etc/ssh/sshd_config
cp /usr/lib/os-release etc/os-release
cat >etc/passwd <<'P'
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sshd:x:100:65534::/run/sshd:/usr/sbin/nologin
ubuntu:x:1000:1000::/home/ubuntu:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
P
printf '%s\n' root:x:0: daemon:x:1: tty:x:5: ubuntu:x:1000: nogroup:x:65534: >etc/group
printf '%s:*:19700:0:99999:7:::\n' root daemon sshd ubuntu nobody >etc/shadow
chmod 600 etc/shadow
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' >etc/nsswitch.conf
printf '127.0.0.1 localhost %s\n' "$1" >etc/hosts
echo "$1" >etc/hostname
: >etc/environment
: >var/log/lastlog
printf 'root ALL=(ALL) ALL\nubuntu ALL=(ALL) NOPASSWD:ALL\n' >etc/sudoers
chmod 440 etc/sudoers
for kind in ed25519 ecdsa; do ssh-keygen -q -t "$kind" -N '' -C "root@$1" -f "etc/ssh/ssh_host_${kind}_key"; done
for home in root home/ubuntu; do
    printf '%s\n' "$3" >"$home/.ssh/authorized_keys"
    chmod 700 "$home" "$home/.ssh"
    chmod 600 "$home/.ssh/authorized_keys"
done
chown -R 1000:1000 home/ubuntu
