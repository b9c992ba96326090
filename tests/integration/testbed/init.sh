#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# From a fresh set of namespaces to systemd as PID 1. Started by container.py under unshare, with its cgroup set;
# what it mounts is seen in here only and dies with it. Arguments: NAME RUNDIR STICKS SOURCE STAGE
# STAGE, a script (or empty), runs in the finished root before systemd does: it installs the project.
set -eu
name=$1 rundir=$2 sticks=$3 source=$4 stage=$5
root=$rundir/root

mount --make-rprivate /
mkdir -p "$root"
mount -t tmpfs -o mode=755,size=75% tmpfs "$root"
mkdir -p "$root/upper" "$root/work" "$root/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/merged"
new=$root/merged

mount -t proc -o nosuid,noexec,nodev proc "$new/proc"
mount -t sysfs -o nosuid,noexec,nodev sysfs "$new/sys"
mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 "$new/sys/fs/cgroup"
# udev's device nodes are the kernel's own: /dev is the host's, except for terminals and shared memory.
mount --bind /dev "$new/dev"
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts "$new/dev/pts"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$new/dev/shm"
mkdir -p "$new/etc/systemd/system" "$new/etc/udev/rules.d"

: >"$new/etc/fstab"
rm -f "$new/etc/machine-id"
printf '%s\n' "$(tr -d - </proc/sys/kernel/random/uuid)" >"$new/etc/machine-id"
printf '%s\n' "$name" >"$new/etc/hostname"
hostname "$name"

units=$new/etc/systemd/system
# What needs real hardware, a network, or would reach through to the host. No coldplug: the host's devices are not
# ours, and sticks come later.
for unit in systemd-sysctl systemd-modules-load systemd-random-seed systemd-remount-fs systemd-networkd \
	systemd-resolved systemd-timesyncd systemd-hwdb-update systemd-binfmt systemd-repart systemd-firstboot \
	systemd-pstore systemd-machine-id-commit systemd-update-utmp systemd-pcrphase systemd-pcrphase-sysinit \
	systemd-tmpfiles-setup-dev systemd-journal-flush kmod-static-nodes console-setup keyboard-setup ldconfig \
	networking systemd-boot-system-token getty@tty1 postgresql systemd-udev-trigger; do
	ln -sfn /dev/null "$units/$unit.service"
done
for unit in proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount dev-hugepages.mount dev-mqueue.mount \
	sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-ask-password-console.path \
	systemd-journald-audit.socket systemd-tmpfiles-clean.timer; do
	ln -sfn /dev/null "$units/$unit"
done
mkdir -p "$new/etc/systemd/journald.conf.d"
cat >"$new/etc/systemd/journald.conf.d/testbed.conf" <<-END
	[Journal]
	Storage=volatile
	ReadKMsg=no
	RateLimitBurst=0
END
cat >"$units/testbed.target" <<-END
	[Unit]
	Description=usbcrypt's test bed
	Requires=basic.target
	After=basic.target
	Wants=dbus.socket dbus.service systemd-logind.service systemd-udevd.service polkit.service
	After=dbus.service systemd-logind.service systemd-udevd.service polkit.service
	AllowIsolate=yes
END

# Who tests: alice sits at the machine, bob is logged in but not in front, carol came over the network.
for user in alice:3001 bob:3002 carol:3003; do
	login=${user%:*} id=${user#*:}
	printf '%s:x:%s:%s::/home/%s:/bin/bash\n' "$login" "$id" "$id" "$login" >>"$new/etc/passwd"
	printf '%s:x:%s:\n' "$login" "$id" >>"$new/etc/group"
	printf '%s:*:19000:0:99999:7:::\n' "$login" >>"$new/etc/shadow"
	mkdir -p "$new/home/$login"
	chown "$id:$id" "$new/home/$login"
	chmod 700 "$new/home/$login"
done

# The sticks: loop devices on this stack's images pass for USB; everything after 59 is the production rules.
cat >"$new/etc/udev/rules.d/59-testbed.rules" <<-END
	SUBSYSTEM!="block", GOTO="testbed_end"
	KERNEL!="loop*", GOTO="testbed_end"
	ENV{DEVTYPE}=="disk", ATTR{loop/backing_file}=="*/sticks/$name/*", ENV{ID_BUS}="usb", ENV{ID_SERIAL}="testbed_stick", ENV{ID_SERIAL_SHORT}="stick"
	ENV{DEVTYPE}=="partition", ATTRS{loop/backing_file}=="*/sticks/$name/*", ENV{ID_BUS}="usb", ENV{ID_SERIAL}="testbed_stick", ENV{ID_SERIAL_SHORT}="stick"
	LABEL="testbed_end"
END

if [ -n "$stage" ]; then
	# The source tree may be on a filesystem of its own, or where this machine is to have its /tmp.
	mkdir -p "$new$source"
	mount --bind "$source" "$new$source"
	chroot "$new" /bin/sh -c "$stage" </dev/null
	umount "$new$source"
fi

mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$new/run"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$new/tmp"
for folder in media mnt; do
	mkdir -p "$new/$folder"
	mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$new/$folder"
done
mkdir -p "$new/run/testbed/sticks"
mount --bind "$sticks" "$new/run/testbed/sticks"
: >"$new/run/testbed/notify"
mount --bind "$rundir/notify" "$new/run/testbed/notify"

cd "$new"
mkdir -p run/testbed/old
pivot_root . run/testbed/old
exec </dev/null
umount -l run/testbed/old
rmdir run/testbed/old
# systemd leaves this to the container's manager: mounts made later must reach the units' own namespaces.
mount --make-rshared /
exec env -i container=usbcrypt-testbed NOTIFY_SOCKET=/run/testbed/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
	/lib/systemd/systemd --system --unit=testbed.target --show-status=no --log-target=console
