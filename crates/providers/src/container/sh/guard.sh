# Waits for the end of the program that has the other end of its standard input, then for the end of the pool's
# containers, which end by their leases, and removes what is left of them. Arguments: the command that lists the names
# of containers that run, that lists all, that removes the one whose name follows, that removes the network if there is
# one; what the pool's names begin with.
running=$1 all=$2 remove=$3 network=$4 prefix=$5
trap '' HUP INT
ours() {
    # A runtime that does not answer is asked again: nothing is known then.
    listed=$(eval "$1" 2>/dev/null) || return 1
    found=$(printf '%s\n' "$listed" | while read -r name; do
        case $name in "$prefix"*) printf '%s ' "$name" ;; esac
    done)
}
cat >/dev/null
silent=0
until ours "$running" && [ -z "$found" ]; do
    silent=$((silent + 1))
    [ -z "$found" ] || silent=0
    [ "$silent" -lt 600 ] || exit 1
    found=
    sleep 1
done
tries=0
while [ "$tries" -lt 30 ]; do
    tries=$((tries + 1))
    if ours "$all"; then
        for name in $found; do eval "$remove \"\$name\"" >/dev/null 2>&1; done
        if [ -z "$found" ]; then
            [ -n "$network" ] && ! eval "$network" >/dev/null 2>&1 && [ "$tries" -lt 5 ] || exit 0
        fi
    fi
    sleep 1
done
exit 1
