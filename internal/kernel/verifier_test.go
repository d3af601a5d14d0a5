//go:build linux

package kernel_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

// maxVerified is half of what the kernel allows (a million): neither the next
// compiler nor the next verifier shall be the one that refuses a program.
const maxVerified = 500_000

// verified is what the verifier says of a program that it lets pass.
type verified struct {
	name         string
	instructions int // as compiled, with what it calls
	walked       int // by the verifier, over all paths
	states       int // kept at once, the peak
	stack        int // bytes, of the program and all functions that it may call, together
	took         time.Duration
}

// What the verifier says of each program of all features (make verifier). Settings
// are unknown to it here, so that it walks what any of them would have it walk.
func TestVerifierPassesEachProgram(t *testing.T) {
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Skip(kernel.Classify("verifier", err))
	}
	objects, err := filepath.Glob("*/*_bpfel.o")
	if err != nil || len(objects) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	var rows []verified
	types := btf.NewCache()
	for _, name := range objects {
		if strings.HasSuffix(name, foreignObject) {
			continue
		}
		spec, err := ebpf.LoadCollectionSpec(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := spec.Maps[".rodata"]; m != nil {
			m.Flags = 0
		}
		old := ""
	again:
		for _, program := range slices.Sorted(maps.Keys(spec.Programs)) {
			row, err := verify(spec, program, types)
			row.name = filepath.Dir(name) + "/" + program + old
			err = kernel.Classify(row.name, err)
			if u := (*kernel.Unsupported)(nil); errors.As(err, &u) {
				t.Log(u)
				continue
			} else if err != nil {
				t.Errorf("%s: %+v", row.name, err)
				continue
			}
			rows = append(rows, row)
			if row.walked > maxVerified {
				t.Errorf("%s: %d instructions verified, want at most %d", row.name, row.walked, maxVerified)
			}
		}
		// And as kernels before 5.11 get it, which newer ones understand, too.
		if v := spec.Variables["old_tasks"]; v != nil && old == "" {
			old = " before 5.11"
			if err := v.Set(uint8(1)); err != nil {
				t.Fatal(err)
			}
			goto again
		}
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "program\tinstructions\tverified\tpeak states\tstack\ttime\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t\n", r.name, r.instructions, r.walked, r.states, r.stack, r.took.Round(time.Millisecond))
	}
	_ = w.Flush()
	t.Log("\n" + b.String())
	if len(rows) == 0 {
		t.Skip("no program may be loaded here")
	}
}

var (
	processedLine = regexp.MustCompile(`processed (\d+) insns .* peak_states (\d+)`)
	stackLine     = regexp.MustCompile(`stack depth ([\d+]+)`)
)

func verify(spec *ebpf.CollectionSpec, program string, types *btf.Cache) (verified, error) {
	one := spec.Copy()
	one.Programs = map[string]*ebpf.ProgramSpec{program: one.Programs[program]}
	began := time.Now()
	coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{Cache: types, Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	if err != nil {
		return verified{}, err
	}
	defer coll.Close()
	v := verified{took: time.Since(began), instructions: len(one.Programs[program].Instructions)}
	log := coll.Programs[program].VerifierLog
	m := processedLine.FindStringSubmatch(log)
	if m == nil {
		return v, fmt.Errorf("read the verifier's log: it says %q", log)
	}
	v.walked, _ = strconv.Atoi(m[1])
	v.states, _ = strconv.Atoi(m[2])
	if m := stackLine.FindStringSubmatch(log); m != nil {
		for n := range strings.SplitSeq(m[1], "+") {
			bytes, _ := strconv.Atoi(n)
			v.stack += bytes
		}
	}
	return v, nil
}
