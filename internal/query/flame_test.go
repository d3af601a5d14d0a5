package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pprof "github.com/google/pprof/profile"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/profile"
)

// frames makes a profile of one value from "main.a;main.b 3"; several functions
// of one location are joined by +, the outermost first.
func frames(lines ...string) *pprof.Profile {
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{{Type: "cpu", Unit: "nanoseconds"}},
		Mapping:    []*pprof.Mapping{{ID: 1, File: "/bin/shop"}, {ID: 2, File: "[kernel]"}, {ID: 3, File: "/lib/libc.so.6"}},
	}
	known := map[string]*pprof.Location{}
	for _, text := range lines {
		stack, n, _ := strings.Cut(text, " ")
		s := &pprof.Sample{Value: []int64{0}}
		fmt.Sscan(n, &s.Value[0])
		for _, word := range strings.Split(stack, ";") {
			l := known[word]
			if l == nil {
				l = &pprof.Location{ID: uint64(len(p.Location) + 1), Address: 0x10, Mapping: p.Mapping[0]}
				switch {
				case strings.HasPrefix(word, "k_"):
					l.Mapping = p.Mapping[1]
				case strings.HasPrefix(word, "c_"), word == "?":
					l.Mapping = p.Mapping[2]
				}
				for _, name := range strings.Split(word, "+") {
					if name == "?" {
						continue
					}
					f := &pprof.Function{ID: uint64(len(p.Function) + 1), Name: name}
					if strings.HasPrefix(name, "main.") {
						f.Filename = "main.go"
					}
					p.Function = append(p.Function, f)
					l.Line = append([]pprof.Line{{Function: f}}, l.Line...)
				}
				known[word] = l
				p.Location = append(p.Location, l)
			}
			s.Location = append([]*pprof.Location{l}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	if err := p.CheckValid(); err != nil {
		panic(err)
	}
	return p
}

// drawn writes a tree, one line a node, callees behind their caller.
func drawn(f *Flame) []string {
	var out []string
	depth := make([]int, len(f.Nodes.Name))
	for i, name := range f.Nodes.Name {
		if up := f.Nodes.Parent[i]; up >= 0 {
			depth[i] = depth[up] + 1
		}
		line := fmt.Sprintf("%s%s (%s) %d/%d", strings.Repeat(" ", depth[i]), f.Names[name], f.Kinds[name], f.Nodes.Self[i], f.Nodes.Value[i])
		if f.Nodes.BaseValue != nil {
			line += fmt.Sprintf(" %d/%d", f.Nodes.BaseSelf[i], f.Nodes.BaseValue[i])
		}
		out = append(out, line)
	}
	return out
}

func TestFlame(t *testing.T) {
	f := newFlame(true)
	f.add(frames("main.run;main.f+main.g;k_read 3", "main.run;c_malloc 2", "main.run;? 1", "main.run;main.f+main.g 4"), 0, 0)
	f.add(frames("main.run;c_malloc 5", "main.idle 1"), 0, 1)
	got := f.finish(MaxFlameNodes)
	want := []string{
		"main.run (go) 0/10 0/5",
		" main.f (go) 0/7 0/0",
		"  main.g (inline) 4/7 0/0",
		"   k_read (kernel) 3/3 0/0",
		" c_malloc (c) 2/2 5/5",
		" [libc.so.6] (other) 1/1 0/0",
		"main.idle (go) 0/0 1/1",
	}
	if diff := cmp.Diff(want, drawn(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Total != 10 || got.BaseTotal != 6 || got.Unit != "nanoseconds" || got.Truncated {
		t.Errorf("%+v", got)
	}
}

// TestFlameOfValuesNearTheEnd: sums stay at the end, and what is largest stays when
// a tree is cut.
func TestFlameOfValuesNearTheEnd(t *testing.T) {
	const end = math.MaxInt64
	f := newFlame(false)
	f.add(frames(fmt.Sprint("main.run;main.a ", end-1), fmt.Sprint("main.run;main.b ", end), "main.idle 5", "main.run;main.b 9"), 0, 0)
	got := f.finish(2)
	want := []string{
		fmt.Sprintf("main.run (go) %d/%d", end-1, end), // with main.a, which is cut
		fmt.Sprintf(" main.b (go) %d/%d", end, end),
	}
	if diff := cmp.Diff(want, drawn(got)); diff != "" || got.Total != end {
		t.Errorf("total %d (-want +got):\n%s", got.Total, diff)
	}
}

// TestFlameIsBounded: whatever is left out, sums stay and callers are there.
func TestFlameIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.SampledFrom([]string{"main.a", "main.b", "main.c", "k_d"})
		var lines []string
		for range rapid.IntRange(1, 20).Draw(rt, "samples") {
			lines = append(lines, fmt.Sprintf("%s %d", strings.Join(rapid.SliceOfN(word, 1, 6).Draw(rt, "stack"), ";"), rapid.IntRange(-2, 9).Draw(rt, "value")))
		}
		limit := rapid.IntRange(1, 30).Draw(rt, "limit")
		whole, part := newFlame(false), newFlame(false)
		whole.add(frames(lines...), 0, 0)
		part.add(frames(lines...), 0, 0)
		all, got := whole.finish(1000), part.finish(limit)
		n := len(got.Nodes.Name)
		if n > limit || n > len(all.Nodes.Name) || got.Truncated != (len(all.Nodes.Name) > limit) {
			rt.Fatalf("%d nodes of %d, limit %d, truncated %v", n, len(all.Nodes.Name), limit, got.Truncated)
		}
		below := make([]int64, n)
		for i := n - 1; i >= 0; i-- {
			if up := got.Nodes.Parent[i]; up >= i || up < -1 {
				rt.Fatalf("node %d has parent %d", i, up)
			} else if up >= 0 {
				below[up] += got.Nodes.Value[i]
			}
		}
		for i := range n {
			if got.Nodes.Self[i]+below[i] != got.Nodes.Value[i] {
				rt.Fatalf("node %d: self %d and callees %d are not %d", i, got.Nodes.Self[i], below[i], got.Nodes.Value[i])
			}
		}
	})
}

func TestProfiler(t *testing.T) {
	s, err := profile.Open(profile.Options{Dir: t.TempDir(), DiskReserve: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := NewProfiler(s)
	ctx := WithTenant(context.Background(), store.Tenant{Account: 3})
	now := time.Now()
	add := func(version, host string, lines ...string) {
		t.Helper()
		one := frames(lines...)
		one.TimeNanos, one.DurationNanos = now.UnixNano(), int64(time.Second)
		var raw bytes.Buffer
		if err := one.Write(&raw); err != nil {
			t.Fatal(err)
		}
		got, err := p.Add(ctx, raw.Bytes(), "", map[string]string{"service.name": "shop", "service.version": version, "host.name": host})
		if err != nil || got.Type != "cpu" || got.ID == "" {
			t.Fatalf("add: %+v, %v", got, err)
		}
	}
	add("1.1", "a", "main.run;main.f 3")
	add("1.2", "b", "main.run;main.f 5", "main.run;main.g 1")
	w := Window{Start: now.Add(-time.Hour), End: now.Add(time.Hour)}

	list, err := p.Profiles(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(0, now.UnixNano()).UTC()
	want := &ProfileList{Series: []ProfileSeries{{Service: "shop", Type: "cpu", Unit: "nanoseconds", Profiles: 2, First: at, Last: at, Total: 9, Versions: []string{"1.1", "1.2"}, Instances: []string{"a", "b"}}}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if list, err = p.Profiles(context.Background(), w); err != nil || len(list.Series) != 0 {
		t.Errorf("another tenant sees %v, %v", list, err)
	}

	base := w
	w.Filter, base.Filter = "service.version = 1.2", "service.version = 1.1"
	f, err := p.Flame(ctx, w, "cpu", &base)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"main.run (go) 0/6 0/3", " main.f (go) 5/5 3/3", " main.g (go) 1/1 0/0"}, drawn(f)); diff != "" {
		t.Errorf("difference (-want +got):\n%s", diff)
	}
	if f.Profiles != 1 || f.BaseProfiles != 1 {
		t.Errorf("%d and %d profiles", f.Profiles, f.BaseProfiles)
	}
	if f, err = p.Flame(ctx, w, "heap", nil); err != nil || f.Total != 0 || len(f.Nodes.Name) != 0 {
		t.Errorf("no profiles: %+v, %v", f, err)
	}
	w.Filter = ""
	merge := func(kind string) (*pprof.Profile, error) {
		var out bytes.Buffer
		if err := p.Merge(ctx, w, kind, &out); err != nil {
			return nil, err
		}
		return pprof.Parse(&out)
	}
	m, err := merge("cpu")
	if err != nil || m.DefaultSampleType != "cpu" || len(m.Sample) != 2 {
		t.Errorf("merged: %v, %v", m, err)
	}

	// States of a moment are averaged.
	for _, n := range []string{"4", "8"} {
		one := frames("main.run " + n)
		one.SampleType[0] = &pprof.ValueType{Type: "goroutine", Unit: "count"}
		var raw bytes.Buffer
		if err := one.Write(&raw); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Add(ctx, raw.Bytes(), "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if m, err = merge("goroutine"); err != nil || len(m.Sample) != 1 || m.Sample[0].Value[0] != 6 || m.Comments[0] != "average of 2 profiles" {
		t.Errorf("averaged: %v, %v", m, err)
	}

	base.Filter = "a or b"
	var field *FieldError
	if _, err = p.Flame(ctx, w, "cpu", &base); !errors.As(err, &field) || field.Field != "base_filter" {
		t.Errorf("a wrong filter of the base: %v", err)
	}
	if _, err = p.Add(ctx, []byte("no profile"), "", nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no profile: %v", err)
	}
	old := frames("main.f 1")
	old.TimeNanos = now.Add(-30 * 24 * time.Hour).UnixNano()
	var raw bytes.Buffer
	if err := old.Write(&raw); err != nil {
		t.Fatal(err)
	}
	if _, err = p.Add(ctx, raw.Bytes(), "", nil); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), "older than profiles are kept") {
		t.Errorf("an old profile: %v", err)
	}
}
