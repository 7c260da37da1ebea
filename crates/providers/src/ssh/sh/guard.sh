# The process that is a machine on a host: it holds the lock on the machine's folder, and ends the machine when
# nobody renews its lease or it is told to. Arguments: folder, lease in seconds, seconds between two looks.
machine=$1 lease=$2 pause=$3
pool=${machine%/*}
base=${pool%/*}
top=${base%/*}
nap=

end() {
    trap '' TERM HUP INT
    [ -z "$nap" ] || kill "$nap" 2>/dev/null
    clear_machine "$machine"
    (exec 8<"$base" && take_lock && rmdir "$pool" && rmdir "$base" && rmdir "$top") 2>/dev/null
    exit 0
}

# On the clock that counts sleep and that nobody sets.
now() {
    read -r up _ </proc/uptime
    up=${up%%.*}
}

trap end TERM HUP INT
cd /
now
until=$((up + lease + 1)) seen='' kept=''
while [ -d "$machine" ] && [ "$up" -lt "$until" ]; do
    sleep "$pause" 9<&- &
    nap=$!
    wait "$nap"
    nap=
    now
    said=$(cat "$machine/.skyward/lease" 2>/dev/null)
    [ "$said" != "$seen" ] || continue
    seen=$said
    case $said in
    lapsed) break ;;
    'keep '*) [ -n "$kept" ] || { kept=yes; until=$((up + (${said#keep } + 999) / 1000)); } ;;
    *) [ -n "$kept" ] || until=$((up + lease + 1)) ;;
    esac
done
end
