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
	status, _ := os.ReadFile("/proc/thread-self/status")
	lockdown, _ := os.ReadFile("/sys/kernel/security/lockdown")
	if advice := adviceFor(err, string(status), string(lockdown)); advice != "" {
		return fmt.Errorf("%w; %s", err, advice)
	}
	return err
}

// adviceFor is what to do about an error, by a thread's /proc/…/status and the kernel's lockdown file; empty if there is no advice.
func adviceFor(err error, status, lockdown string) string {
	helper := refusedHelper(err)
	switch {
	case isPermission(err), helper != "" && len(missingCapabilities(effective(status))) > 0:
		return whyRefused(status, lockdown)
	case strings.HasPrefix(helper, "bpf_probe_read"): // all kernels have these
		return lockedDown
	}
	return ""
}

// isPermission tells whether an error is the kernel's refusal of a caller.
func isPermission(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EPERM)
}

const lockedDown = "the kernel is locked down to confidentiality (/sys/kernel/security/lockdown), where BPF programs may not read kernel memory; boot it with lockdown=integrity or less"

// refusedHelper is the BPF helper that the verifier has refused a program, empty if it was refused for something else. A kernel that has a helper
// gives it to nobody without CAP_BPF or CAP_PERFMON, and where it is locked down it gives none that read kernel memory: the error is EINVAL then,
// as for a program that is wrong. Which program is refused first, and for what, is a matter of chance.
func refusedHelper(err error) string {
	if !errors.Is(err, unix.EINVAL) {
		return ""
	}
	for _, before := range []string{"cannot use helper ", "unknown func "} {
		if _, text, found := strings.Cut(err.Error(), before); found {
			name, _, _ := strings.Cut(text, "#")
			return name
		}
	}
	return ""
}

// whyRefused names what may have refused a call, by a thread's /proc/…/status and by the kernel's lockdown file, and says what
// to do about it. Who has all capabilities that loading takes, is refused for another reason than a lack of rights.
func whyRefused(status, lockdown string) string {
	missing := missingCapabilities(effective(status))
	const asRoot = "run it as root, in Kubernetes in a privileged container"
	switch {
	case len(missing) > 0:
		return "this process lacks " + strings.Join(missing, ", ") + ": " + asRoot
	case strings.Contains(lockdown, "[confidentiality]"):
		return lockedDown
	case field(status, "Seccomp") == "2":
		return "this process has the capabilities, and a seccomp profile filters its system calls (Seccomp: 2 in /proc/self/status); " +
			"allow bpf(2) and perf_event_open(2) in it, or run unconfined (seccompProfile: {type: Unconfined})"
	}
	return "this process has the capabilities, so a security module refuses it (AppArmor, SELinux: see dmesg and the audit log), or the kernel's settings; " + asRoot
}

// field is a field of a thread's status.
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// effective are the capabilities that a thread has by its status.
func effective(status string) (set uint64) {
	_, _ = fmt.Sscanf(field(status, "CapEff"), "%x", &set)
	return set
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
