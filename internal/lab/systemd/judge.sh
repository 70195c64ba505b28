#!/bin/bash
# Looks at pawld under systemd, and tells on the console: "judge: ok WHAT", or "judge: wrong WHAT". What it
# looks at is the kind of boot.
set -u
ok() { echo "judge: ok $1"; }
wrong() { echo "judge: wrong $1: $2"; systemctl --no-pager --lines 20 status pawld pawld-failed; }
check() { # WHAT HAVE WANT
	if [[ $2 =~ ^($3)$ ]]; then ok "$1"; else wrong "$1" "it is \"$2\", want \"$3\""; fi
}
of() { systemctl show "$1" -P "$2"; }
answers() { pawl status --timeout 5s >/dev/null 2>&1; }
until_true() { # SECONDS COMMAND...
	local end=$((SECONDS + $1))
	shift
	until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 1; done
}

trial() {
	check "sysusers made the group" "$(getent group pawl | cut -d: -f1)" pawl
	check "tmpfiles made the directory" "$(stat -c '%a %U' /etc/pawl)" "750 root"
	check "the service is not enabled by its package" "$(systemctl is-enabled pawld)" disabled
	systemctl start pawld
	check "started" "$(of pawld ActiveState)" active
	if answers; then ok "ready only once it answers"; else wrong "ready only once it answers" "no answer"; fi
	check "hardened" "$(of pawld NoNewPrivileges) $(of pawld LockPersonality)" "yes yes"
	check "on trial" "$(pawl status --timeout 5s 2>&1 | grep -c 'on trial')" "[1-9]"

	sed -i 's/^log-level: info/log-level: debug/' /etc/pawl/pawld.yaml
	pid=$(of pawld MainPID)
	systemctl reload pawld
	heard() { journalctl -q -u pawld --no-pager | grep -q 'log-level=DEBUG'; }
	if until_true 30 heard; then ok "reload is heard"
	else wrong "reload is heard" "$(journalctl -q -u pawld --no-pager | tail -5)"; fi
	check "reload starts nothing anew" "$(of pawld MainPID)" "$pid"

	kill -STOP "$pid"
	again() { [ "$(of pawld NRestarts)" = 1 ] && [ "$(of pawld ActiveState)" = active ]; }
	if until_true 120 again; then ok "a service that hangs is started again"
	else wrong "a service that hangs is started again" "$(of pawld NRestarts) restarts"; fi
	if journalctl -q -u pawld --no-pager | grep -qi 'watchdog timeout'; then ok "by the watchdog"
	else wrong "by the watchdog" "$(journalctl -q -u pawld --no-pager | tail -5)"; fi
	check "still on trial" "$(pawl status --timeout 5s 2>&1 | grep -c 'on trial')" "[1-9]"

	# From now on it does not even start: the failure action gives the trial up, and the machine restarts. Stopped in
	# order, or with settings that are wrong, it would do that by itself.
	mkdir -p /run/systemd/system/pawld.service.d
	printf '[Service]\nExecStart=\nExecStart=/bin/false\n' >/run/systemd/system/pawld.service.d/broken.conf
	systemctl daemon-reload
	echo "judge: breaks it"
	kill -KILL "$(of pawld MainPID)"
	sleep 300
	wrong "the failure action restarts the machine" "it does not"
}

after() {
	systemctl start pawld-failed
	check "outside of a trial the failure action works" "$(of pawld-failed Result)" success
	check "and restarts nothing" "$(systemctl is-system-running | grep -c stopping)" 0
	systemctl start pawld
	check "started" "$(of pawld ActiveState)" active
	check "back in the old version" "$(pawl status --timeout 5s 2>&1 | grep -c 'fell back')" "[1-9]"
	systemctl stop pawld
	check "stopped" "$(of pawld ActiveState) $(of pawld Result)" "inactive success"
}

mount --bind /boot.cmdline /proc/cmdline # the kernel's arguments, as the loader would give them
"$(cat /boot.kind)"
echo "judge: end"
systemctl poweroff
