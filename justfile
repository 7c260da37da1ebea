# The few commands of every day. `.ci/run` is the gate; it needs no `just`.

# What fails fastest: format, lints, floors.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test -p skyward-tests --test floors

# All tests; `just test floors` runs those whose name matches.
test *names:
    cargo test --workspace {{ names }}

# Our numbers beside the floor under them: `just bench start --json`.
bench case *options:
    cargo run --release -p skyward-bench -- {{ case }} {{ options }}

# The documentation, with its warnings as errors.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Many simulated lives, then the tests again and again, for a number of minutes, until one fails.
soak minutes="30" seeds="100000":
    #!/usr/bin/env bash
    set -euo pipefail
    SKYWARD_SEEDS={{ seeds }} cargo test -p skyward-runtime --features testing two_thousand_seeds -- --nocapture
    cargo test --workspace --no-run
    for ((round = 1; SECONDS < {{ minutes }} * 60; round++)); do
        echo "round $round, $((SECONDS / 60)) of {{ minutes }} minutes"
        cargo test --workspace --quiet
    done
    echo "no failure in $((round - 1)) rounds"

# Formats everything.
fmt:
    cargo fmt --all

# Licences, bans, sources, and the advisories, which need the network.
deny:
    cargo deny check
