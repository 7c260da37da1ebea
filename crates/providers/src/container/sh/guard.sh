# Waits for the end of the program that has the other end of its standard input, then for the end of the pool's
# containers, which end by their leases, and removes what is left of them. Arguments: the command that lists the names
# of containers that run, that lists all, that removes the one whose name follows, that removes the network if there is
# one; what the pool's names begin with.
running=$1 all=$2 remove=$3 network=$4 prefix=$5
trap '' HUP INT
# What of the pool a command lists, as `found`. A runtime that does not answer is asked again: nothing is known then.
ours() {
    listed=$(eval "$1" 2>/dev/null) || return 1
    found=$(printf '%s\n' "$listed" | while read -r name; do
        case $name in "$prefix"*) printf '%s ' "$name" ;; esac
    done)
}
cat >/dev/null
silent=0 empty=0 tries=0
while [ "$silent" -lt 600 ] && [ "$tries" -lt 30 ]; do
    if ! ours "$running"; then
        silent=$((silent + 1))
    elif [ -n "$found" ]; then
        silent=0 empty=0 tries=0
    elif ours "$all"; then
        tries=$((tries + 1))
        if [ -n "$found" ]; then
            empty=0
            for name in $found; do eval "$remove \"\$name\"" >/dev/null 2>&1; done
        else
            # Seen twice, so that nothing that only just begins loses its network.
            empty=$((empty + 1))
            if [ "$empty" -ge 2 ]; then
                [ -n "$network" ] && ! eval "$network" >/dev/null 2>&1 && [ "$empty" -lt 5 ] || exit 0
            fi
        fi
    fi
    sleep 1
done
exit 1
