package query

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	pprof "github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/pprofile"
)

// Kinds of functions in flame graphs.
const (
	flameGo     = "go"
	flameInline = "inline"
	flameC      = "c"
	flameKernel = "kernel"
	flameOther  = "other"
)

// flame adds profiles up to a tree, two sides beside each other.
type flame struct {
	out   Flame
	names map[flameName]int
	nodes []flameNode // callers before callees
	child map[[2]int]int
	// frames are the functions of a location, outermost first.
	frames map[*pprof.Location][]int
}

type flameName struct{ name, kind, file string }

type flameNode struct {
	parent, name int
	self, value  [2]int64
	weight       uint64 // of all values below, whatever their sign
}

func newFlame(base bool) *flame {
	f := &flame{names: map[flameName]int{}, child: map[[2]int]int{}}
	f.out = Flame{Names: []string{}, Kinds: []string{}, Files: []string{}, Nodes: FlameNodes{Name: []int{}, Parent: []int{}, Self: []int64{}, Value: []int64{}}}
	if base {
		f.out.Nodes.BaseSelf, f.out.Nodes.BaseValue = []int64{}, []int64{}
	}
	return f
}

// add counts the value at place main of a profile's samples on a side.
func (f *flame) add(p *pprof.Profile, main, side int) {
	if main < 0 || main >= len(p.SampleType) {
		return
	}
	if f.out.Unit == "" {
		f.out.Unit = p.SampleType[main].Unit
	}
	f.frames = map[*pprof.Location][]int{}
	for _, s := range p.Sample {
		v := s.Value[main]
		if v == 0 {
			continue
		}
		if side == 0 {
			f.out.Total = pprofile.Plus(f.out.Total, v)
		} else {
			f.out.BaseTotal = pprofile.Plus(f.out.BaseTotal, v)
		}
		at := -1
		for _, l := range slices.Backward(s.Location) {
			for _, name := range f.functions(l) {
				at = f.step(at, name)
				n := &f.nodes[at]
				n.value[side] = pprofile.Plus(n.value[side], v)
				n.weight += min(magnitude(v), math.MaxUint64-n.weight)
			}
		}
		if at >= 0 {
			f.nodes[at].self[side] = pprofile.Plus(f.nodes[at].self[side], v)
		}
	}
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

func (f *flame) step(from, name int) int {
	at, ok := f.child[[2]int{from, name}]
	if !ok {
		at = len(f.nodes)
		f.child[[2]int{from, name}] = at
		f.nodes = append(f.nodes, flameNode{parent: from, name: name})
	}
	return at
}

func (f *flame) functions(l *pprof.Location) []int {
	if known, ok := f.frames[l]; ok {
		return known
	}
	var out []int
	for i, line := range slices.Backward(l.Line) {
		n := flameName{name: line.Function.Name, file: place(line.Function)}
		if n.name == "" {
			n.name = nameless(l)
		}
		n.kind = kindOf(l, line.Function, i < len(l.Line)-1)
		out = append(out, f.name(n))
	}
	if len(out) == 0 {
		n := flameName{name: nameless(l), kind: flameOther}
		if ofKernel(l) {
			n.kind = flameKernel
		}
		out = append(out, f.name(n))
	}
	f.frames[l] = out
	return out
}

// place is where a function begins: its file and, where known, the line.
func place(fn *pprof.Function) string {
	if fn.Filename == "" || fn.StartLine <= 0 {
		return fn.Filename
	}
	return fmt.Sprintf("%s:%d", fn.Filename, fn.StartLine)
}

func (f *flame) name(n flameName) int {
	i, ok := f.names[n]
	if !ok {
		i = len(f.out.Names)
		f.names[n] = i
		f.out.Names, f.out.Kinds, f.out.Files = append(f.out.Names, n.name), append(f.out.Kinds, n.kind), append(f.out.Files, n.file)
	}
	return i
}

// nameless stands for code whose function is not known: the file that it is in.
func nameless(l *pprof.Location) string {
	if l.Mapping != nil && l.Mapping.File != "" {
		return "[" + strings.Trim(path.Base(l.Mapping.File), "[]") + "]"
	}
	return fmt.Sprintf("0x%x", l.Address)
}

func ofKernel(l *pprof.Location) bool {
	if l.Mapping == nil {
		return false
	}
	file := l.Mapping.File
	return strings.HasPrefix(file, strings.TrimSuffix(pprofile.KernelFile, "]")) || strings.HasPrefix(file, "[guest.kernel") || path.Base(file) == "vmlinux"
}

// kindOf tells in what world a function lives, by its file and its name.
func kindOf(l *pprof.Location, fn *pprof.Function, inlined bool) string {
	switch ext := path.Ext(fn.Filename); {
	case ofKernel(l):
		return flameKernel
	case inlined:
		return flameInline
	case ext == ".go" || ext == ".s":
		return flameGo
	case ext == ".c" || ext == ".h" || ext == ".cc" || ext == ".cpp" || ext == ".cxx" || ext == ".hpp" || ext == ".S":
		return flameC
	case ext != "" || fn.Name == "" || strings.HasPrefix(fn.Name, "["):
		return flameOther
	}
	if l.Mapping != nil && strings.Contains(path.Base(l.Mapping.File), ".so") {
		return flameC
	}
	// A Go function has its package before a dot: main.run, net/http.(*conn).serve.
	if before, after, ok := strings.Cut(fn.Name[strings.LastIndexByte(fn.Name, '/')+1:], "."); ok && before != "" && after != "" && !strings.Contains(fn.Name, "::") {
		return flameGo
	}
	return flameC
}

// finish writes the tree with at most limit nodes: those with most below them.
func (f *flame) finish(limit int) *Flame {
	order := make([]int, len(f.nodes))
	for i := range order {
		order[i] = i
	}
	if len(order) > limit {
		// What is below a node is never more than what is below its caller, so
		// that callers of what is kept are kept.
		slices.SortFunc(order, func(a, b int) int {
			if wa, wb := f.nodes[a].weight, f.nodes[b].weight; wa != wb {
				if wa > wb {
					return -1
				}
				return 1
			}
			return a - b
		})
		order = order[:limit]
		slices.Sort(order)
		f.out.Truncated = true
	}
	placed := make([]int, len(f.nodes))
	for i := range placed {
		placed[i] = -1
	}
	for to, from := range order {
		placed[from] = to
	}
	for i, n := range slices.Backward(f.nodes) {
		if placed[i] < 0 && n.parent >= 0 { // callees come after their callers
			for side, v := range f.nodes[i].self {
				to := &f.nodes[n.parent].self[side]
				*to = pprofile.Plus(*to, v)
			}
		}
	}
	used := make([]int, len(f.out.Names))
	names, kinds, files := []string{}, []string{}, []string{}
	n := &f.out.Nodes
	for _, from := range order {
		o := f.nodes[from]
		if used[o.name] == 0 {
			names, kinds, files = append(names, f.out.Names[o.name]), append(kinds, f.out.Kinds[o.name]), append(files, f.out.Files[o.name])
			used[o.name] = len(names)
		}
		parent := -1
		if o.parent >= 0 {
			parent = placed[o.parent]
		}
		n.Name, n.Parent = append(n.Name, used[o.name]-1), append(n.Parent, parent)
		n.Self, n.Value = append(n.Self, o.self[0]), append(n.Value, o.value[0])
		if n.BaseValue != nil {
			n.BaseSelf, n.BaseValue = append(n.BaseSelf, o.self[1]), append(n.BaseValue, o.value[1])
		}
	}
	f.out.Names, f.out.Kinds, f.out.Files = names, kinds, files
	return &f.out
}
