package layout

import (
	"bufio"
	"os/exec"
	"strconv"
	"strings"
	"testing"
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
