# Ends everything that bears the mark of the machine whose folder is $1, and whatever shares a session with that,
# and removes the folder. One that runs already stays at it until there is nothing any more, or gives up.
clear_machine() {
    rounds=0
    while [ "$rounds" -lt 100 ]; do
        rounds=$((rounds + 1))
        marked=$(grep -lsF -- "SKYWARD_MACHINE=$1" /proc/[0-9]*/environ | tr -c '0-9\n' ' ' | tr -s ' \n' ' ')
        # Of each process its number, state, parent, group and session; its name may contain anything.
        found=$(cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^\([0-9]*\) .*) \([A-Z]\) /\1 \2 /' | awk -v marked=" $marked " '
            $2 != "Z" { session[$1] = $5; if (index(marked, " " $1 " ")) mine[$5] = 1 }
            END { for (pid in session) if (session[pid] in mine) print pid }')
        # shellcheck disable=SC2086
        [ -z "$found" ] || kill -KILL $found 2>/dev/null
        rm -rf -- "$1" 2>/dev/null
        [ -n "$found" ] || [ -e "$1" ] || return 0
        sleep 0.05
    done
    return 1
}
