# Ends machines of a pool on this host, all of them when none is named. Arguments: folder, pool, machines.
base=$1 pool=$2
shift 2
case $base in /*) ;; *) base=$HOME/$base ;; esac
top=$base base=$base/$(uname -n)
if [ "$#" = 0 ]; then
    set -- "$base/$pool"/*
else
    for id in "$@"; do
        set -- "$@" "$base/$pool/$id"
        shift
    done
fi
left=
for machine in "$@"; do
    [ -d "$machine" ] || continue
    pid=$(cat "$machine/.skyward/guard" 2>/dev/null)
    if [ -n "$pid" ] && ! flock -n "$machine" true; then
        kill -TERM "$pid" 2>/dev/null
        looks=0
        while [ -d "$machine" ] && [ "$looks" -lt 60 ]; do
            looks=$((looks + 1))
            sleep 0.05
        done
        [ ! -d "$machine" ] || kill -KILL "$pid" 2>/dev/null
    fi
    [ ! -d "$machine" ] || clear_machine "$machine" || left="$left $machine"
done
(exec 8<"$base" && take_lock && rmdir "$base/$pool" && rmdir "$base" && rmdir "$top") 2>/dev/null
printf 'skyward left%s\n' "$left"
