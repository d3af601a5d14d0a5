//go:build linux

package audit

import "golang.org/x/sys/unix"

var nativeCalls = []call{
	{unix.SYS_OPENAT, opOpenat}, {unix.SYS_OPENAT2, opOpenat2},
	{unix.SYS_OPEN_BY_HANDLE_AT, opOpenHandle}, {unix.SYS_CONNECT, opConnect}, {unix.SYS_SETNS, opSetns},
	{unix.SYS_UNSHARE, opUnshare}, {unix.SYS_MOUNT, opMount}, {unix.SYS_MOVE_MOUNT, opMoveMount},
	{unix.SYS_PTRACE, opPtrace}, {unix.SYS_PROCESS_VM_READV, opVMRead}, {unix.SYS_PROCESS_VM_WRITEV, opVMWrite},
	{unix.SYS_BPF, opBPF}, {unix.SYS_INIT_MODULE, opInitModule}, {unix.SYS_FINIT_MODULE, opFinitModule},
	{unix.SYS_DELETE_MODULE, opDeleteModule}, {unix.SYS_IO_URING_SETUP, opURing},
}

// compatCalls are the numbers of 32-bit ARM (arch/arm/tools/syscall.tbl).
var compatCalls = []call{
	{5, opOpen}, {8, opCreat}, {322, opOpenat}, {437, opOpenat2}, {371, opOpenHandle}, {283, opConnect}, {375, opSetns},
	{337, opUnshare}, {21, opMount}, {429, opMoveMount}, {26, opPtrace}, {376, opVMRead}, {377, opVMWrite},
	{386, opBPF}, {128, opInitModule}, {379, opFinitModule}, {129, opDeleteModule}, {425, opURing},
}
