package audit

// call is a system call that the kernel's programs look at.
type call struct {
	number int
	op     uint8
}

// syscallTable says by number what to do: 64-bit callers in the low byte, 32-bit
// callers, who could otherwise pass unseen, in the high one.
func syscallTable(native, compat []call, wanted func(Kind) bool) (table [512]uint16, any bool) {
	for _, c := range native {
		if wanted(opKind(c.op)) {
			table[c.number] |= uint16(c.op)
			any = true
		}
	}
	for _, c := range compat {
		if wanted(opKind(c.op)) {
			table[c.number] |= uint16(c.op) << 8
		}
	}
	return table, any
}

func opKind(op uint8) Kind {
	switch {
	case op <= opOpenHandle:
		return Open
	case op == opConnect:
		return Connect
	case op <= opClone:
		return Namespace
	case op <= opMoveMount:
		return Mount
	case op <= opVMWrite:
		return Ptrace
	case op == opBPF:
		return BPF
	case op == opURing:
		return URing
	}
	return Module
}
