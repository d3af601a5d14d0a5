package profile

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/journal"
	"github.com/guanlan-io/guanlan/internal/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func testOptions(t testing.TB, dir string) (Options, *clock) {
	c := &clock{t: noon}
	return Options{Dir: dir, DiskReserve: 1, Now: c.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, c
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// cpu is a profile of stacks "main;a;b 3".
func cpu(at time.Time, stacks ...string) *profile.Profile {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 10, TimeNanos: at.UnixNano(), DurationNanos: int64(10 * time.Second),
		Mapping: []*profile.Mapping{{ID: 1, Start: 1, Limit: 99, File: "/shop", HasFunctions: true}},
	}
	known := map[string]*profile.Location{}
	for _, line := range stacks {
		var n int64
		stack, rest, _ := strings.Cut(line, " ")
		var tag string
		fmt.Sscan(rest, &n, &tag)
		s := &profile.Sample{Value: []int64{n, 10 * n}}
		if k, v, ok := strings.Cut(tag, "="); ok {
			s.Label = map[string][]string{k: {v}}
		}
		for _, name := range strings.Split(stack, ";") {
			l := known[name]
			if l == nil {
				f := &profile.Function{ID: uint64(len(known) + 1), Name: name, SystemName: name, Filename: name + ".go"}
				l = &profile.Location{ID: f.ID, Address: uint64(crc32.ChecksumIEEE([]byte(name))), Mapping: p.Mapping[0], Line: []profile.Line{{Function: f, Line: 7}}}
				known[name] = l
				p.Function, p.Location = append(p.Function, f), append(p.Location, l)
			}
			s.Location = append([]*profile.Location{l}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

// folded writes a profile as cpu reads it, sorted; values of the first type.
func folded(p *profile.Profile) []string {
	var out []string
	for _, s := range p.Sample {
		var names []string
		for _, l := range slices.Backward(s.Location) {
			names = append(names, l.Line[0].Function.Name)
		}
		line := fmt.Sprint(strings.Join(names, ";"), " ", s.Value[0])
		for _, k := range slices.Sorted(maps.Keys(s.Label)) {
			line += fmt.Sprint(" ", k, "=", strings.Join(s.Label[k], ","))
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func write(t testing.TB, s *Store, tenant store.Tenant, profiles ...New) {
	t.Helper()
	if _, err := s.Write(context.Background(), tenant, profiles); err != nil {
		t.Fatal(err)
	}
}

func of(service string, p *profile.Profile) New {
	return New{Resource: map[string]string{"service.name": service}, Kind: "cpu", Pprof: p}
}

func hour(where ...store.Cond) store.Select {
	return store.Select{Range: store.Range{Start: noon.Add(-time.Hour), End: noon.Add(time.Hour)}, Where: where}
}

func when(field string, op store.Op, value string) store.Cond {
	return store.Cond{Field: field, Op: op, Value: value}
}

// sumOf keeps what Merge hands out.
func sumOf(s *Store, sel store.Select, kind string, labels bool) (m *Merged, err error) {
	err = s.Merge(context.Background(), sel, kind, labels, func(got *Merged) error { m = got; return nil })
	return m, err
}

func merged(t testing.TB, s *Store, sel store.Select) []string {
	t.Helper()
	m, err := sumOf(s, sel, "cpu", true)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Profile.CheckValid(); err != nil {
		t.Fatal(err)
	}
	return folded(m.Profile)
}

func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Who reads pprof takes the first mapping for the program's file.
func TestProgramsOwnMappingIsFirst(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	p := cpu(noon, "entry 1", "main;a 3")
	kernel := &profile.Mapping{ID: 1, Start: 1 << 63, Limit: 1<<63 + 99, File: "[kernel]", HasFunctions: true}
	p.Mapping[0].ID = 2
	p.Mapping = []*profile.Mapping{kernel, p.Mapping[0]}
	p.Location[0].Mapping = kernel
	write(t, s, store.Tenant{}, of("shop", p))
	m, err := sumOf(s, hour(), "cpu", false)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, x := range m.Profile.Mapping {
		files = append(files, x.File)
	}
	if want := []string{"/shop", "[kernel]"}; !slices.Equal(files, want) {
		t.Errorf("mappings %q, want %q", files, want)
	}
	if err := m.Profile.CheckValid(); err != nil {
		t.Error(err)
	}
}

// TestReads asks the head, a segment and both together the same.
func TestReads(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	write(t, s, store.Tenant{},
		of("shop", cpu(noon, "main;a 1", "main;b 2 trace_id=x")),
		of("shop", cpu(noon.Add(10*time.Second), "main;a 4", "main;b;c 5")),
		of("pay", cpu(noon, "main;p 7")))
	write(t, s, store.Tenant{Account: 1}, of("shop", cpu(noon, "other 9")))
	check := func(state string) {
		t.Helper()
		same(t, state+": all", merged(t, s, hour()), "main;a 5", "main;b 2 trace_id=x", "main;b;c 5", "main;p 7")
		shop := when("service.name", store.OpEq, "shop")
		same(t, state+": service", merged(t, s, hour(shop)), "main;a 5", "main;b 2 trace_id=x", "main;b;c 5")
		same(t, state+": other service", merged(t, s, hour(when("resource.service.name", store.OpNe, "shop"))), "main;p 7")
		same(t, state+": label", merged(t, s, hour(when("trace_id", store.OpEq, "x"))), "main;b 2 trace_id=x")
		same(t, state+": without label", merged(t, s, hour(shop, when("label.trace_id", store.OpEq, ""))), "main;a 5", "main;b;c 5")
		same(t, state+": function", merged(t, s, hour(store.Cond{Op: store.OpText, Value: "B"})), "main;b 2 trace_id=x", "main;b;c 5")
		sel := hour(shop)
		sel.Range = store.Range{Start: noon.Add(10 * time.Second), End: noon.Add(11 * time.Second)}
		same(t, state+": later", merged(t, s, sel), "main;a 4", "main;b;c 5")
		sel.Range = store.Range{Start: noon.Add(9 * time.Second), End: noon.Add(10 * time.Second)}
		same(t, state+": part of a profile", merged(t, s, sel), "main;a 1", "main;b 2 trace_id=x")
		other := hour()
		other.Tenant = store.Tenant{Account: 1}
		same(t, state+": tenant", merged(t, s, other), "other 9")
		if _, err := sumOf(s, hour(), "heap", true); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: no such type: %v", state, err)
		}
		m, err := sumOf(s, hour(shop), "cpu", false)
		if err != nil {
			t.Fatal(err)
		}
		same(t, state+": no labels", folded(m.Profile), "main;a 5", "main;b 2", "main;b;c 5")
		if m.Profiles != 2 || m.Main != 1 || m.Profile.DurationNanos != int64(20*time.Second) || m.Profile.TimeNanos != noon.UnixNano() || m.Profile.Period != 10 || m.Profile.Mapping[0].File != "/shop" {
			t.Errorf("%s: %d profiles, main value %d, %v", state, m.Profiles, m.Main, m.Profile)
		}
		got, err := s.Series(context.Background(), hour())
		if err != nil {
			t.Fatal(err)
		}
		want := []Series{
			{Kind: "cpu", Resource: map[string]string{"service.name": "pay"}, Unit: "nanoseconds", Profiles: 1, First: noon, Last: noon, Total: 70},
			{Kind: "cpu", Resource: map[string]string{"service.name": "shop"}, Unit: "nanoseconds", Profiles: 2, First: noon, Last: noon.Add(10 * time.Second), Total: 120},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: series (-want +got):\n%s", state, diff)
		}
		got, err = s.Series(context.Background(), hour(when("trace_id", store.OpEq, "x")))
		if err != nil || len(got) != 1 || got[0].Profiles != 1 || got[0].Total != 20 {
			t.Errorf("%s: series by label: %v, %v", state, got, err)
		}
	}
	check("head")
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if s.pending() {
		t.Error("the head is not empty after a flush")
	}
	check("segment")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Series(context.Background(), hour()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a closed store answers: %v", err)
	}
	s = mustOpen(t, o)
	check("opened again")
	if st := s.Stats(); st.Profiles != 4 || st.Replayed != 0 || st.Damaged != 0 || st.Segments != 1 || st.Series != 3 || !st.Oldest.Equal(noon) {
		t.Errorf("stats %+v", st)
	}
}

// TestAgainstMap does any sequence of operations on a store and on a slice.
func TestAgainstMap(t *testing.T) {
	base := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "profiles"); err == nil { // thousands of flushes to a disk take long
		base = memory
		defer os.RemoveAll(memory)
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		if err != nil {
			rt.Fatal(err)
		}
		o, now := testOptions(t, dir)
		o.Retention = 2 * time.Hour
		o.Logger = slog.New(slog.DiscardHandler)
		s, err := open(o, lazyDisk{})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		type kept struct {
			tenant  uint32
			service string
			at      time.Time
			stacks  []string
		}
		var all []kept
		words := rapid.SampledFrom([]string{"main", "a", "b", "c"})
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				tenant := rapid.Uint32Range(0, 1).Draw(rt, "tenant")
				var batch []New
				for range rapid.IntRange(1, 3).Draw(rt, "profiles") {
					k := kept{tenant, words.Draw(rt, "service"), now.now().Add(-time.Duration(rapid.IntRange(0, 60).Draw(rt, "age")) * time.Minute), nil}
					for range rapid.IntRange(1, 3).Draw(rt, "stacks") {
						stack := strings.Join(rapid.SliceOfN(words, 1, 3).Draw(rt, "stack"), ";")
						line := fmt.Sprintf("%s %d", stack, rapid.IntRange(1, 5).Draw(rt, "n"))
						if rapid.Bool().Draw(rt, "labelled") {
							line += " thread=" + words.Draw(rt, "thread")
						}
						k.stacks = append(k.stacks, line)
					}
					all = append(all, k)
					batch = append(batch, of(k.service, cpu(k.at, k.stacks...)))
				}
				if _, err := s.Write(context.Background(), store.Tenant{Account: tenant}, batch); err != nil {
					rt.Fatal(err)
				}
			},
			"flush": func(rt *rapid.T) {
				if err := s.flush(); err != nil {
					rt.Fatal(err)
				}
			},
			"crash": func(rt *rapid.T) { // what is on the disk is all that stays
				s.abandon()
				if s, err = open(o, lazyDisk{}); err != nil {
					rt.Fatal(err)
				}
			},
			"reopen": func(rt *rapid.T) {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = open(o, lazyDisk{}); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				tenant := rapid.Uint32Range(0, 1).Draw(rt, "of tenant")
				service, thread := words.Draw(rt, "of service"), words.Draw(rt, "of thread")
				start := now.now().Add(-time.Duration(rapid.IntRange(0, 70).Draw(rt, "start")) * time.Minute)
				end := start.Add(time.Duration(rapid.IntRange(1, 70).Draw(rt, "length")) * time.Minute)
				byThread := rapid.Bool().Draw(rt, "by thread")
				sums := map[string]int{}
				for _, k := range all {
					if k.tenant != tenant || k.service != service || !k.at.Before(end) || !k.at.Add(10*time.Second).After(start) {
						continue
					}
					for _, line := range k.stacks {
						var stack, tag string
						var n int
						fmt.Sscan(line, &stack, &n, &tag)
						if !byThread || tag == "thread="+thread {
							sums[stack+"|"+tag] += n
						}
					}
				}
				var want []string
				for k, n := range sums {
					stack, tag, _ := strings.Cut(k, "|")
					want = append(want, strings.TrimSpace(fmt.Sprintf("%s %d %s", stack, n, tag)))
				}
				slices.Sort(want)
				sel := store.Select{Tenant: store.Tenant{Account: tenant}, Range: store.Range{Start: start, End: end}, Where: []store.Cond{when("service.name", store.OpEq, service)}}
				if byThread {
					sel.Where = append(sel.Where, when("thread", store.OpEq, thread))
				}
				if diff := cmp.Diff(want, merged(t, s, sel)); diff != "" {
					rt.Fatalf("(-want +got):\n%s", diff)
				}
			},
		})
	})
}

// lazyDisk leaves fsync out, for tests of many flushes.
type lazyDisk struct{ osDisk }

type lazyFile struct{ file }

func (d lazyDisk) create(path string) (file, error) {
	f, err := d.osDisk.create(path)
	return lazyFile{f}, err
}

func (lazyDisk) syncDir(string) error { return nil }

func (lazyFile) Sync() error { return nil }

// abandon ends a store as a kill does: nothing more is written.
func (s *Store) abandon() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.stopped.Wait()
	_ = s.journal.Close()
}

func TestRetention(t *testing.T) {
	o, now := testOptions(t, t.TempDir())
	o.Retention = 2 * time.Hour
	s := mustOpen(t, o)
	flush := func() {
		t.Helper()
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s, store.Tenant{}, of("shop", cpu(noon, "old 1")))
	flush()
	now.move(90 * time.Minute)
	write(t, s, store.Tenant{}, of("shop", cpu(now.now(), "new 1")))
	flush()
	s.expire()
	if st := s.Stats(); st.Segments != 2 || st.Deleted != 0 {
		t.Errorf("nothing is old: %+v", st)
	}
	now.move(time.Hour)
	s.expire()
	sel := store.Select{Range: store.Range{Start: noon.Add(-time.Hour), End: now.now()}}
	same(t, "after the retention", merged(t, s, sel), "new 1")
	if st := s.Stats(); st.Segments != 1 || st.Deleted != 1 || st.Series != 1 {
		t.Errorf("one is old: %+v", st)
	}
	// A profile that arrives too late is counted, one of a wrong clock is not lost.
	write(t, s, store.Tenant{}, of("shop", cpu(noon, "late 1")))
	write(t, s, store.Tenant{}, of("shop", cpu(now.now().Add(48*time.Hour), "ahead 1")))
	sel.Range.End = now.now().Add(time.Second)
	same(t, "late and ahead", merged(t, s, sel), "ahead 1", "new 1")
	if st := s.Stats(); st.Late != 1 {
		t.Errorf("late: %+v", st)
	}
	now.move(24 * time.Hour)
	flush()
	s.expire()
	if st := s.Stats(); st.Profiles != 0 || st.Series != 0 || st.Bytes != 0 {
		t.Errorf("all is old: %+v", st)
	}
	files, _ := filepath.Glob(filepath.Join(s.segmentsDir(), "*"))
	if len(files) != 0 {
		t.Errorf("files are left: %v", files)
	}
}

func TestSize(t *testing.T) {
	o, now := testOptions(t, t.TempDir())
	o.MaxBytes = 2500
	s := mustOpen(t, o)
	for range 20 {
		now.move(time.Minute)
		write(t, s, store.Tenant{}, of("shop", cpu(now.now(), "main;a 1")))
		if err := s.flush(); err != nil {
			t.Fatal(err)
		}
		s.expire()
		if st := s.Stats(); st.Bytes > o.MaxBytes {
			t.Fatalf("%d bytes, more than %d", st.Bytes, o.MaxBytes)
		}
	}
	if st := s.Stats(); st.Segments < 2 || !st.Newest.Equal(now.now()) {
		t.Errorf("the newest are gone: %+v", st)
	}
}

// TestConcurrent reads, writes, flushes and deletes at the same time.
func TestConcurrent(t *testing.T) {
	o, _ := testOptions(t, t.TempDir())
	o.Sync = journal.SyncAlways
	o.MaxBytes = 1 << 20
	s := mustOpen(t, o)
	var wg sync.WaitGroup
	const writers, each = 4, 30
	for w := range writers {
		wg.Go(func() {
			for range each {
				write(t, s, store.Tenant{}, of(fmt.Sprint("s", w), cpu(noon, "main;a 1", "main;b 1 thread=t")))
			}
		})
	}
	done := make(chan struct{})
	var reads sync.WaitGroup
	for range 2 {
		reads.Go(func() {
			last := 0
			for {
				m, err := sumOf(s, hour(), "cpu", true)
				if err == nil && m.Profiles < last {
					t.Errorf("%d profiles, and there were %d", m.Profiles, last)
				} else if err == nil {
					last = m.Profiles
				}
				if err := s.flush(); err != nil {
					t.Error(err)
				}
				s.expire()
				_ = s.Stats()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
	close(done)
	reads.Wait()
	same(t, "all", merged(t, s, hour()), fmt.Sprint("main;a ", writers*each), fmt.Sprint("main;b ", writers*each, " thread=t"))
}
