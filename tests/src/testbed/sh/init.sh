# The first process of a host: starts its SSH server, and takes in what is left by others until the power goes.
power_off() {
    ip link set eth0 down
    exit 0
}
trap power_off USR1
mkdir -p /run/sshd
/usr/sbin/sshd || exit 1
echo up
exec >/dev/null 2>&1
while :; do
    sleep 3600 &
    wait
done
