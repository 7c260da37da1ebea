# Puts the program, which is on standard input, where the first process waits for it, and says by which key its SSH
# server is known once that listens. Arguments: the program's path below $HOME, its size in bytes, what it must first say
# that it is (nothing: it is trusted), the arguments with which it gets there.
umask 077
home=$HOME/.skyward program=$HOME/$1 size=$2 same=$3
shift 3
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
[ "$(wc -c <"$program.part")" -eq "$size" ] || say "the program did not arrive whole"
chmod 700 "$program.part" || say "the program cannot be put into $HOME"
if [ -n "$same" ]; then
    said=$(sh -c 'SKYWARD_ROLE=fingerprint:$$ exec "$0" "$@"' "$program.part" "$@" 2>&1 </dev/null)
    case $said in
    *"$same"*) ;;
    *)
        printf '%s\n' "$said"
        exit 74
        ;;
    esac
fi
mv -f "$program.part" "$program" || say "the program cannot be put into $HOME"
kill -USR1 "$(cat "$home/first")"
looks=0
until [ -s "$home/host_key" ]; do
    looks=$((looks + 1))
    [ "$looks" -le 1200 ] || say "its SSH server does not begin"
    sleep 0.05 2>/dev/null || sleep 1
done
cat "$home/host_key"
