# Makes a machine on this host, unless it is taken. Arguments: folder, pool, machine, how many there may be, whether
# other pools may be there, lease, pause, the guard's text, whether programs are kept.
base=$1 pool=$2 id=$3 slots=$4 share=$5 lease=$6 pause=$7 guard=$8 cache=$9

say() {
    printf 'skyward %s\n' "$*"
    exit 0
}

umask 077
case $base in /*) ;; *) base=$HOME/$base ;; esac
# Hosts may have one home together, and each knows only who holds locks on itself.
top=$base base=$base/$(uname -n)
machine=$base/$pool/$id
[ "$(uname -s)" = Linux ] || say system "$(uname -s)"
for tool in flock setsid grep sed awk; do
    command -v "$tool" >/dev/null 2>&1 || say tool "$tool"
done
# Whoever holds this lock is alone; a folder that its last machine removed meanwhile is made again.
tries=0
while :; do
    tries=$((tries + 1))
    [ "$tries" -le 50 ] || say busy
    # Another host may remove the folder above just now.
    why=$(mkdir -p "$base" 2>&1) || { [ "$tries" -gt 3 ] || continue; say folder "$why"; }
    exec 8<"$base"
    take_lock || say busy
    [ ! "$base" -ef /proc/self/fd/8 ] || break
done
taken=0
for found in "$base"/*/*; do
    [ -d "$found" ] || continue
    other=${found%/*}
    # A machine lives as long as its guard holds its folder; what a dead one left is cleared away.
    if flock -n "$found" true; then
        clear_machine "$found"
        rmdir "$other" 2>/dev/null
        continue
    fi
    if [ "$found" = "$machine" ]; then
        # It was made for this request, whose answer nobody heard.
        pid=$(cat "$found/.skyward/guard" 2>/dev/null)
        [ -z "$pid" ] || say machine "$pid" "$machine"
    fi
    taken=$((taken + 1))
    [ "$other" != "$base/$pool" ] || continue
    [ "$share" = yes ] && [ -e "$found/.skyward/shared" ] || say held "${other##*/}"
done
[ "$taken" -lt "$slots" ] || say full "$taken"
why=$(mkdir -p "$base/$pool" "$machine/.skyward" 2>&1) || say folder "$why"
if [ "$cache" = yes ]; then
    mkdir -p "$top/.programs" && ln -s ../../../../.programs "$machine/.skyward/programs"
    find "$top/.programs" -type f -mtime +30 -exec rm -f {} +
fi
[ "$share" != yes ] || : >"$machine/.skyward/shared"
exec 9<"$machine"
flock -n 9 || say busy
setsid sh -c "$guard" skyward-machine "$machine" "$lease" "$pause" </dev/null >/dev/null 2>&1 8<&- &
pid=$!
why=$( (echo "$pid" >"$machine/.skyward/guard") 2>&1) || { kill "$pid"; say folder "$why"; }
say machine "$pid" "$machine"
