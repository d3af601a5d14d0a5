//go:build linux

package audit

import "golang.org/x/sys/unix"

var nativeCalls = []call{
	{unix.SYS_OPEN, opOpen}, {unix.SYS_CREAT, opCreat}, {unix.SYS_OPENAT, opOpenat}, {unix.SYS_OPENAT2, opOpenat2},
	{unix.SYS_OPEN_BY_HANDLE_AT, opOpenHandle}, {unix.SYS_CONNECT, opConnect}, {unix.SYS_SETNS, opSetns},
	{unix.SYS_UNSHARE, opUnshare}, {unix.SYS_MOUNT, opMount}, {unix.SYS_MOVE_MOUNT, opMoveMount},
	{unix.SYS_PTRACE, opPtrace}, {unix.SYS_PROCESS_VM_READV, opVMRead}, {unix.SYS_PROCESS_VM_WRITEV, opVMWrite},
	{unix.SYS_BPF, opBPF}, {unix.SYS_INIT_MODULE, opInitModule}, {unix.SYS_FINIT_MODULE, opFinitModule},
	{unix.SYS_DELETE_MODULE, opDeleteModule}, {unix.SYS_IO_URING_SETUP, opURing},
}

// compatCalls are the numbers of 386 (arch/x86/entry/syscalls/syscall_32.tbl).
var compatCalls = []call{
	{5, opOpen}, {8, opCreat}, {295, opOpenat}, {437, opOpenat2}, {342, opOpenHandle}, {362, opConnect}, {346, opSetns},
	{310, opUnshare}, {21, opMount}, {429, opMoveMount}, {26, opPtrace}, {347, opVMRead}, {348, opVMWrite},
	{357, opBPF}, {128, opInitModule}, {350, opFinitModule}, {129, opDeleteModule}, {425, opURing},
}
