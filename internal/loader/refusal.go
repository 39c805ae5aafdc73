package loader

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// advise says what to do about an error.
func advise(err error) error {
	if isLockedDown(err) {
		return fmt.Errorf("%w; %s", err, lockedDown)
	}
	if !isPermission(err) {
		return err
	}
	status, _ := os.ReadFile("/proc/thread-self/status")
	lockdown, _ := os.ReadFile("/sys/kernel/security/lockdown")
	return fmt.Errorf("%w; %s", err, whyRefused(string(status), string(lockdown)))
}

// isPermission tells whether an error is the kernel's refusal of a caller.
func isPermission(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EPERM)
}

const lockedDown = "the kernel is locked down to confidentiality (/sys/kernel/security/lockdown), where BPF programs may not read kernel memory; boot it with lockdown=integrity or less"

// isLockedDown tells whether an error is the verifier's refusal of the helpers that read kernel memory. All kernels have them, and give them
// to no program where they are locked down: EINVAL it is then, as for a program that is wrong.
func isLockedDown(err error) bool {
	return errors.Is(err, unix.EINVAL) &&
		(strings.Contains(err.Error(), "cannot use helper bpf_probe_read") || strings.Contains(err.Error(), "unknown func bpf_probe_read"))
}

// whyRefused names what may have refused a call, by a thread's /proc/…/status and by the kernel's lockdown file, and says what
// to do about it. Who has all capabilities that loading takes, is refused for another reason than a lack of rights.
func whyRefused(status, lockdown string) string {
	field := func(name string) string {
		for line := range strings.Lines(status) {
			if value, ok := strings.CutPrefix(line, name+":"); ok {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	var effective uint64
	_, _ = fmt.Sscanf(field("CapEff"), "%x", &effective)
	missing := missingCapabilities(effective)
	const asRoot = "run it as root, in Kubernetes in a privileged container"
	switch {
	case len(missing) > 0:
		return "this process lacks " + strings.Join(missing, ", ") + ": " + asRoot
	case strings.Contains(lockdown, "[confidentiality]"):
		return lockedDown
	case field("Seccomp") == "2":
		return "this process has the capabilities, and a seccomp profile filters its system calls (Seccomp: 2 in /proc/self/status); " +
			"allow bpf(2) and perf_event_open(2) in it, or run unconfined (seccompProfile: {type: Unconfined})"
	}
	return "this process has the capabilities, so a security module refuses it (AppArmor, SELinux: see dmesg and the audit log), or the kernel's settings; " + asRoot
}

// missingCapabilities are those that a set of capabilities has not, of what nothing works without. CAP_SYS_ADMIN includes the first two.
func missingCapabilities(effective uint64) (missing []string) {
	has := func(bit int) bool { return effective&(1<<bit) != 0 }
	for _, c := range []struct {
		name string
		bit  int
	}{{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}} {
		if !has(c.bit) && !(c.bit != unix.CAP_NET_ADMIN && has(unix.CAP_SYS_ADMIN)) {
			missing = append(missing, c.name)
		}
	}
	return missing
}
