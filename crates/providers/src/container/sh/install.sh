# Puts the program, which is on standard input, where the first process waits for it, and says by which key its SSH
# server is known once that listens. Arguments: the program's path below $HOME, its size in bytes.
umask 077
home=$HOME/.skyward program=$HOME/$1
say() {
    echo "$*" >&2
    exit 73
}
looks=0
until [ -s "$home/first" ]; do
    looks=$((looks + 1))
    [ "$looks" -le 200 ] || say "the first process does not begin"
    sleep 0.05 2>/dev/null || sleep 1
done
cat >"$program.part" || say "no room for the program in $HOME"
[ "$(wc -c <"$program.part")" -eq "$2" ] || say "the program did not arrive whole"
chmod 700 "$program.part" && mv -f "$program.part" "$program" || say "the program cannot be put into $HOME"
kill -USR1 "$(cat "$home/first")"
looks=0
until [ -s "$home/host_key" ]; do
    looks=$((looks + 1))
    [ "$looks" -le 1200 ] || say "its SSH server does not begin"
    sleep 0.05 2>/dev/null || sleep 1
done
cat "$home/host_key"
