package layout

import (
	"bufio"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A probe in the middle of an instruction would break the program. All returns of all
// functions, also in a program with instructions that our disassembler does not know, are
// those that binutils finds.
func TestAllReturns(t *testing.T) {
	if _, err := exec.LookPath("objdump"); err != nil {
		t.Skip("no objdump of binutils")
	}
	_, root := ownRoot(t)
	for _, level := range []string{"v1", "v3"} {
		t.Setenv("GOAMD64", level)
		exe := build(t, root, "service", "amd64")
		b := open(t, exe)
		want := returnsOf(t, b, exe)
		found, given := 0, 0
		for i := range b.funcs {
			entry, code, ok := b.code(i)
			if !ok {
				t.Fatalf("no code of function %d", i)
			}
			_, _, returns := decodeAMD64(code)
			for _, off := range returns {
				if found++; !want[entry+off] {
					t.Errorf("%s: return at %x is none", level, entry+off)
				}
			}
			if returns != nil {
				given++
			}
		}
		if found < len(want)*99/100 || given < len(b.funcs)*95/100 {
			t.Errorf("%s: %d of %d returns, in %d of %d functions", level, found, len(want), given, len(b.funcs))
		}
	}
}

func returnsOf(t *testing.T, b *Binary, exe string) map[uint64]bool {
	t.Helper()
	cmd := exec.Command("objdump", "-d", "--no-show-raw-insn", "-j", ".text", exe)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := map[uint64]bool{}
	s := bufio.NewScanner(out)
	for s.Scan() {
		words := strings.Fields(s.Text())
		if len(words) < 2 || words[1] != "ret" && words[1] != "retq" {
			continue
		}
		addr, err := strconv.ParseUint(strings.TrimSuffix(words[0], ":"), 16, 64)
		if err != nil {
			continue
		}
		if off, ok := fileOffset(b.elf, addr); ok {
			all[off] = true
		}
	}
	if err := cmd.Wait(); err != nil || s.Err() != nil || len(all) < 1000 {
		t.Fatalf("objdump: %v, %v, %d returns", err, s.Err(), len(all))
	}
	return all
}

// Fragments as Go's assembler makes them. A probe stands at the only instruction of the prologue
// that the kernel carries out itself, however large the frame, and nowhere else but the entry.
func TestDecodeARM64(t *testing.T) {
	const (
		ldrGuard = 0xf9400b90 // MOVD 16(g), R16
		cmpSP    = 0xeb3063ff // CMP R16, RSP
		bls      = 0x54000009 // BLS, to wherever
		blo      = 0x54000003 // BLO
		subSP    = 0xd10203f1 // SUB $128, RSP, R17
		cmpR17   = 0xeb10023f // CMP R16, R17
		largeLow = 0xd290001b // MOVD $32768, R27
		subsR17  = 0xeb3b63f1 // SUBS R27, RSP, R17
		movR1    = 0xaa0003e1 // MOVD R0, R1
		push     = 0xf81d0ffe // MOVD.W R30, -48(RSP)
		bl       = 0x94000004 // CALL
		cbz      = 0xb4000040 // CBZ R0
		ret      = 0xd65f03c0 // RET
		retR1    = 0xd65f0020 // RET (R1)
		br       = 0xd61f0200 // JMP (R16)
		word     = 0x00000001 // no instruction: data of an assembler's function
	)
	for name, c := range map[string]struct {
		code    []uint32
		body    uint64
		repeats bool
		returns []uint64
	}{
		"small frame":           {[]uint32{ldrGuard, cmpSP, bls, push, bl, ret, bl, ret}, 8, true, []uint64{20, 28}},
		"medium frame":          {[]uint32{ldrGuard, subSP, cmpR17, bls, push, ret}, 12, true, []uint64{20}},
		"large frame":           {[]uint32{ldrGuard, largeLow, subsR17, blo, cmpR17, bls, push, ret}, 12, true, []uint64{28}},
		"no frame":              {[]uint32{cbz, bl, ret}, 0, false, []uint64{8}},
		"no check of the stack": {[]uint32{push, cmpSP, bls, ret}, 0, false, []uint64{12}},
		"a branch of its own":   {[]uint32{cmpR17, bls, ret}, 0, false, []uint64{8}},
		"reads g and arguments": {[]uint32{ldrGuard, movR1, cmpR17, bls, ret}, 0, false, []uint64{16}},
		"never returns":         {[]uint32{ldrGuard, cmpSP, bls, push, bl, br}, 8, true, nil},
		"data":                  {[]uint32{word, cmpSP, bls, retR1, word, ret}, 0, false, []uint64{12, 20}},
		"empty":                 {nil, 0, false, nil},
	} {
		var code []byte
		for _, w := range c.code {
			code = binary.LittleEndian.AppendUint32(code, w)
		}
		// Half an instruction at the end is none.
		for _, code := range [][]byte{code, append(code[:len(code):len(code)], 0xc0, 0x03)} {
			body, repeats, returns := decodeARM64(code)
			if diff := cmp.Diff(c.returns, returns); body != c.body || repeats != c.repeats || diff != "" {
				t.Errorf("%s: body %d, repeats %v, want %d, %v; returns (-want +got):\n%s", name, body, repeats, c.body, c.repeats, diff)
			}
		}
	}
}

// In a real program all returns are those of the toolchain's own disassembler, and each body is its
// function's entry or a conditional branch close behind it.
func TestAllReturnsARM64(t *testing.T) {
	_, root := ownRoot(t)
	for _, flags := range [][]string{nil, {"-buildmode=pie"}} {
		exe := build(t, root, "service", "arm64", flags...)
		b := open(t, exe)
		funcs, branches := 0, 0
		for name, code := range disassemble(t, root, exe, `^(net/http|database/sql|runtime)\.`) {
			f, ok := b.Func(name)
			if !ok || len(code) == 0 {
				continue // of a name that occurs twice, or padding alone
			}
			first, _ := fileOffset(b.elf, code[0].addr)
			if first != f.Entry {
				continue // the other of a name that occurs twice
			}
			funcs++
			var returns []uint64
			body := ""
			for _, i := range code {
				off, _ := fileOffset(b.elf, i.addr)
				if i.text == "RET" || strings.HasPrefix(i.text, "RET ") {
					returns = append(returns, off)
				}
				if off == f.Body {
					body = i.text
				}
			}
			if diff := cmp.Diff(returns, f.Returns); diff != "" {
				t.Errorf("%v: %s: returns (-objdump +ours):\n%s", flags, name, diff)
			}
			switch {
			case f.Body == f.Entry:
			case f.Body-f.Entry > 4*maxPrologue || !strings.HasPrefix(body, "BLS ") && !strings.HasPrefix(body, "BCC ") || !f.Repeats:
				t.Errorf("%v: %s: body at %d is %q, repeats %v", flags, name, f.Body-f.Entry, body, f.Repeats)
			default:
				branches++
			}
		}
		if t.Logf("%v: %d functions, %d with a branch to probe", flags, funcs, branches); funcs < 2000 || branches < funcs/2 {
			t.Errorf("%v: only %d functions, %d with a branch to probe", flags, funcs, branches)
		}
	}
}

type instruction struct {
	addr uint64
	text string
}

// disassemble lists functions whose names match, by the toolchain of root.
func disassemble(t *testing.T, root, exe, names string) map[string][]instruction {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "bin", "go"), "tool", "objdump", "-s", names, exe)
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOROOT="+root)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("objdump: %v", err)
	}
	all := map[string][]instruction{}
	name := ""
	for line := range strings.Lines(string(out)) {
		if title, ok := strings.CutPrefix(line, "TEXT "); ok {
			name, _, _ = strings.Cut(title, "(SB) ")
			if all[name] != nil {
				name += " again"
			}
			continue
		}
		m := disassembled.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		addr, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = append(all[name], instruction{addr, m[2]})
	}
	return all
}
