package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// seccompFilter has the kernel run a program of classic BPF before each system call of this process, now and after exec.
func seccompFilter(program []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// What a filter reads: struct seccomp_data.
const (
	seccompNumber = 0
	seccompArg0   = 16 // its lower half, on little-endian machines
)

// refuseBy is what a filter returns to have a system call fail.
func refuseBy(errno unix.Errno) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

func allow() unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
}

// loadWord reads a word of struct seccomp_data, for the comparisons that follow.
func loadWord(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// withoutTCX has the kernel refuse BPF_LINK_CREATE, as one without TCX: tracepoints are attached by another command.
func withoutTCX() error {
	return seccompFilter([]unix.SockFilter{
		loadWord(seccompNumber),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BPF, Jf: 3},
		loadWord(seccompArg0),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.BPF_LINK_CREATE, Jf: 1},
		refuseBy(unix.EINVAL),
		allow(),
	})
}
