//go:build linux

package profile

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/kernel/symbol"
)

// build makes the profiles of an interval, the largest first, and says how
// much was left out.
func (f *Feature) build(start, end time.Time) (out []Profile, left int) {
	counts, stacks, labels, lost := f.sums.take()
	type group struct {
		owner profileOwner
		kind  Kind
		ns    uint64
		keys  []profileKey
	}
	period := uint64(time.Second) / uint64(max(f.opts.Hz, 1))
	groups := map[[2]any]*group{}
	for k, c := range counts {
		kind, ns := CPU, c.N*period
		if k.Kind != onCPU {
			kind, ns = OffCPU, c.Ns
		}
		id := [2]any{k.Who, kind}
		g := groups[id]
		if g == nil {
			g = &group{owner: k.Who, kind: kind}
			groups[id] = g
		}
		g.ns += ns
		g.keys = append(g.keys, k)
	}
	sorted := make([]*group, 0, len(groups))
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.ns, a.ns), cmp.Compare(a.owner.Tgid, b.owner.Tgid), cmp.Compare(a.owner.Mm, b.owner.Mm))
	})
	left = int(lost)
	if n := f.opts.MaxProfiles; len(sorted) > n {
		left += len(sorted) - n
		sorted = sorted[:n]
	}
	f.spaces.mu.Lock()
	defer f.spaces.mu.Unlock()
	for _, g := range sorted {
		b := newBuilder(f.spaces, g.owner)
		b.header(g.kind, int64(period), start, end.Sub(start))
		slices.SortFunc(g.keys, func(a, b profileKey) int {
			return cmp.Or(cmp.Compare(a.Stack, b.Stack), cmp.Compare(a.Labels, b.Labels), cmp.Compare(a.Kind, b.Kind))
		})
		for _, k := range g.keys {
			c := counts[k]
			if g.kind == CPU {
				c.Ns = c.N * period
			}
			b.sample(k.Kind, c, stacks[k.Stack], labels[k.Labels])
		}
		out = append(out, Profile{Kind: g.kind, Process: b.space.process, Start: start, Duration: end.Sub(start), Pprof: b.p})
	}
	return out, left
}

// builder writes one pprof profile.
type builder struct {
	spaces *spaces
	owner  profileOwner
	space  *space
	labels map[string][]string

	p         *profile.Profile
	locations map[frame]*profile.Location
	functions map[symbol.Frame]*profile.Function
	mappings  map[uint64]*profile.Mapping // by start
	kernel    *profile.Mapping
	unknown   *profile.Mapping
}

func newBuilder(s *spaces, o profileOwner) *builder {
	b := &builder{
		spaces: s, owner: o, space: s.get(o), labels: map[string][]string{}, p: &profile.Profile{},
		locations: map[frame]*profile.Location{}, functions: map[symbol.Frame]*profile.Function{}, mappings: map[uint64]*profile.Mapping{},
	}
	pr := b.space.process
	name := pr.Comm
	if pr.Exe != "" {
		name = filepath.Base(pr.Exe)
	}
	for k, v := range map[string]string{"process": name, "service": pr.Service, "container": pr.Container, "pod": pr.Pod} {
		if v != "" {
			b.labels[k] = []string{v}
		}
	}
	return b
}

func (b *builder) header(kind Kind, period int64, start time.Time, d time.Duration) {
	b.p.TimeNanos, b.p.DurationNanos = start.UnixNano(), int64(d)
	switch kind {
	case CPU:
		b.p.SampleType = []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}
		b.p.PeriodType, b.p.Period = &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, period
	case OffCPU:
		b.p.SampleType = []*profile.ValueType{{Type: "waits", Unit: "count"}, {Type: "off_cpu", Unit: "nanoseconds"}}
		b.p.PeriodType, b.p.Period = &profile.ValueType{Type: "off_cpu", Unit: "nanoseconds"}, 1
	}
	b.p.DefaultSampleType = b.p.SampleType[1].Type
}

func (b *builder) sample(kind uint32, c profileCount, stack []frame, own []label) {
	s := &profile.Sample{Value: []int64{int64(c.N), int64(c.Ns)}, Label: b.labels, NumLabel: map[string][]int64{"pid": {int64(b.owner.Tgid)}}}
	if kind != onCPU || len(own) > 0 {
		s.Label = map[string][]string{}
		for _, l := range own {
			s.Label[l.key] = []string{l.value}
		}
		switch kind {
		case wait:
			s.Label["state"] = []string{"sleep"}
		case waitDisk:
			s.Label["state"] = []string{"disk"}
		}
		for k, v := range b.labels {
			s.Label[k] = v
		}
	}
	for i, f := range stack {
		// All but the innermost are return addresses: the call lies before. Where
		// a program entered the kernel, its first address is where it will go on.
		innermost := i == 0 || stack[i-1].kernel && !f.kernel
		if !innermost {
			f.pc--
		}
		l := b.location(f)
		if l.Mapping == b.unknown && b.space.symbols != nil && !innermost {
			break // no code lies there: the walk went astray, and all that follows
		}
		s.Location = append(s.Location, l)
	}
	b.p.Sample = append(b.p.Sample, s)
}

func (b *builder) location(f frame) *profile.Location {
	if l := b.locations[f]; l != nil {
		return l
	}
	l := &profile.Location{ID: uint64(len(b.p.Location) + 1), Address: f.pc}
	b.locations[f] = l
	b.p.Location = append(b.p.Location, l)
	if f.kernel {
		if b.kernel == nil {
			b.kernel = b.mapping(&profile.Mapping{Start: 1 << 63, Limit: ^uint64(0), File: "[kernel]"})
		}
		l.Mapping = b.kernel
		name := b.spaces.kernelName(f.pc)
		if name == "" {
			name = "[kernel]"
		}
		l.Line = []profile.Line{{Function: b.function(symbol.Frame{Function: name})}}
		return l
	}
	m, frames := b.spaces.frames(b.owner, b.space, f.pc)
	l.Mapping = b.userMapping(m)
	if len(frames) == 0 {
		name := "[unknown]"
		if m != nil && m.Path != "" {
			name = "[" + strings.Trim(filepath.Base(m.Path), "[]") + "]"
		}
		frames = []symbol.Frame{{Function: name}}
	}
	for _, fr := range frames {
		l.Line = append(l.Line, profile.Line{Line: int64(fr.Line), Function: b.function(fr)})
	}
	return l
}

func (b *builder) function(fr symbol.Frame) *profile.Function {
	fr.Line, fr.Inlined = 0, false
	f := b.functions[fr]
	if f == nil {
		f = &profile.Function{ID: uint64(len(b.p.Function) + 1), Name: fr.Function, SystemName: fr.Function, Filename: fr.File, StartLine: int64(fr.StartLine)}
		b.functions[fr] = f
		b.p.Function = append(b.p.Function, f)
	}
	return f
}

func (b *builder) userMapping(m *symbol.Mapping) *profile.Mapping {
	if m == nil {
		if b.unknown == nil {
			b.unknown = b.mapping(&profile.Mapping{File: "[unknown]"})
		}
		return b.unknown
	}
	pm := b.mappings[m.Start]
	if pm == nil {
		pm = b.mapping(&profile.Mapping{
			Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.Path, BuildID: m.BuildID,
			HasFunctions: true, HasFilenames: true, HasLineNumbers: true, HasInlineFrames: true,
		})
		b.mappings[m.Start] = pm
	}
	return pm
}

func (b *builder) mapping(m *profile.Mapping) *profile.Mapping {
	m.ID = uint64(len(b.p.Mapping) + 1)
	m.HasFunctions = true
	b.p.Mapping = append(b.p.Mapping, m)
	return m
}
