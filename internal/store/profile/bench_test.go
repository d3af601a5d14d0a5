package profile

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/guanlan-io/guanlan/internal/store"
)

// program draws profiles of a made-up service: 1,500 functions in 120 files,
// 4,000 stacks of 6 to 45 frames that share their outer ones, some far more
// frequent than others.
type program struct {
	rand   *rand.Rand
	zipf   *rand.Zipf
	stacks [][]int
}

func newProgram(seed uint64) *program {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &program{rand: r, stacks: [][]int{{0, 1, 2, 3, 4, 5}}}
	for len(p.stacks) < 4000 {
		from := p.stacks[r.IntN(len(p.stacks))]
		keep := min(len(from), 3+r.IntN(len(from)))
		s := append([]int{}, from[:keep]...)
		for range 1 + r.IntN(6) {
			if len(s) < 45 {
				s = append(s, r.IntN(1500))
			}
		}
		p.stacks = append(p.stacks, s)
	}
	r.Shuffle(len(p.stacks), func(i, j int) { p.stacks[i], p.stacks[j] = p.stacks[j], p.stacks[i] })
	p.zipf = rand.NewZipf(r, 1.3, 20, uint64(len(p.stacks)-1))
	return p
}

// profile draws n samples as a profiler of 19 Hz does in 10 s.
func (p *program) profile(at time.Time, n int) *profile.Profile {
	o := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: int64(time.Second) / 19, TimeNanos: at.UnixNano(), DurationNanos: 10e9,
		Mapping: []*profile.Mapping{{ID: 1, Start: 0x400000, Limit: 0x1400000, File: "/usr/local/bin/order", BuildID: "60192e892bfc184c85623a628c67dce0dc39f242", HasFunctions: true, HasFilenames: true, HasLineNumbers: true, HasInlineFrames: true}},
	}
	locations := map[int]*profile.Location{}
	samples := map[int]*profile.Sample{}
	for range n {
		i := int(p.zipf.Uint64())
		s := samples[i]
		if s == nil {
			s = &profile.Sample{Value: []int64{0, 0}, Label: map[string][]string{"process": {"order"}}, NumLabel: map[string][]int64{"pid": {4242}}}
			for j := len(p.stacks[i]) - 1; j >= 0; j-- {
				id := p.stacks[i][j]
				l := locations[id]
				if l == nil {
					f := &profile.Function{ID: uint64(len(o.Function) + 1), Name: fmt.Sprintf("github.com/acme/order/internal/part%d.(*Thing%d).Method%d", id%40, id%200, id), Filename: fmt.Sprintf("/src/internal/part%d/file%d.go", id%40, id%120), StartLine: int64(id)}
					f.SystemName = f.Name
					l = &profile.Location{ID: f.ID, Address: 0x400000 + uint64(id)*977, Mapping: o.Mapping[0], Line: []profile.Line{{Function: f, Line: int64(id + 11)}}}
					locations[id] = l
					o.Function, o.Location = append(o.Function, f), append(o.Location, l)
				}
				s.Location = append(s.Location, l)
			}
			samples[i] = s
			o.Sample = append(o.Sample, s)
		}
		s.Value[0]++
		s.Value[1] += o.Period
	}
	return o
}

// anHour fills a store with an hour of one service, and says how large the
// profiles are as pprof writes them.
func anHour(b testing.TB, s *Store) (gzipped int) {
	p := newProgram(7)
	for i := range 360 {
		one := p.profile(noon.Add(time.Duration(i)*10*time.Second), 190)
		var raw bytes.Buffer
		if err := one.Write(&raw); err != nil {
			b.Fatal(err)
		}
		gzipped += raw.Len()
		write(b, s, store.Tenant{}, of("order", one))
	}
	return gzipped
}

func benchOptions(b *testing.B) Options {
	return Options{Dir: b.TempDir(), DiskReserve: 1, Now: func() time.Time { return noon.Add(time.Hour) }, Logger: slog.New(slog.DiscardHandler)}
}

// BenchmarkMergeHour adds up an hour of profiles of 10 s of one service, from a
// segment and from memory.
func BenchmarkMergeHour(b *testing.B) {
	s := mustOpen(b, benchOptions(b))
	gzipped := anHour(b, s)
	sel := store.Select{Range: store.Range{Start: noon, End: noon.Add(time.Hour)}}
	run := func(b *testing.B) {
		for b.Loop() {
			m, err := sumOf(s, sel, "cpu", true)
			if err != nil || m.Profiles != 360 {
				b.Fatal(m, err)
			}
		}
	}
	b.Run("head", run)
	if err := s.flush(); err != nil {
		b.Fatal(err)
	}
	b.Run("segment", func(b *testing.B) {
		run(b)
		b.ReportMetric(float64(s.Stats().Bytes), "bytes/hour")
		b.ReportMetric(float64(gzipped), "pprof-bytes/hour")
	})
}

// BenchmarkMergeFleet adds up an hour of 50 instances.
func BenchmarkMergeFleet(b *testing.B) {
	s := mustOpen(b, benchOptions(b))
	for i := range 50 {
		p := newProgram(7)
		for j := range 60 {
			one := New{Resource: map[string]string{"service.name": "order", "host.name": fmt.Sprint("h", i)}, Kind: "cpu", Pprof: p.profile(noon.Add(time.Duration(j)*time.Minute), 190)}
			write(b, s, store.Tenant{}, one)
		}
	}
	if err := s.flush(); err != nil {
		b.Fatal(err)
	}
	sel := store.Select{Range: store.Range{Start: noon, End: noon.Add(time.Hour)}}
	for b.Loop() {
		if m, err := sumOf(s, sel, "cpu", false); err != nil || m.Profiles != 3000 {
			b.Fatal(m, err)
		}
	}
	b.ReportMetric(float64(s.Stats().Bytes), "bytes/hour")
}

func BenchmarkWrite(b *testing.B) {
	s := mustOpen(b, benchOptions(b))
	p := newProgram(7)
	var all []*profile.Profile
	for range 20 {
		all = append(all, p.profile(noon, 190))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		write(b, s, store.Tenant{}, of("order", all[i%len(all)]))
		i++
	}
}

// TestSizeOfRealProfiles measures the profiles of a folder (PROFILE_DIR, files
// of pprof in order of their names) as one series.
func TestSizeOfRealProfiles(t *testing.T) {
	dir := os.Getenv("PROFILE_DIR")
	if dir == "" {
		t.Skip("measures the profiles in PROFILE_DIR")
	}
	o, _ := testOptions(t, t.TempDir())
	s := mustOpen(t, o)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for i, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := profile.ParseData(raw)
		if err != nil {
			t.Fatal(err)
		}
		p.TimeNanos = noon.Add(time.Duration(i) * time.Second).UnixNano()
		size += len(raw)
		write(t, s, store.Tenant{}, of("real", p))
	}
	head := s.Stats()
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d profiles: %d bytes as pprof, %d in the journal, %d in memory, %d in the segment", len(files), size, head.Journal.PayloadBytes, head.HeadBytes, s.Stats().Bytes)
}

// BenchmarkReplay opens a folder whose last hour of one service is in the
// journal only, as a kill leaves it.
func BenchmarkReplay(b *testing.B) {
	o := benchOptions(b)
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	anHour(b, s)
	s.abandon()
	for b.Loop() {
		s, err := Open(o)
		if err != nil || s.Stats().Replayed != 360 {
			b.Fatal(s.Stats(), err)
		}
		s.abandon()
	}
	b.ReportMetric(float64(s.head.size.Load()), "head-bytes")
}

// BenchmarkOpenFullHead opens a folder whose head was as large as it gets when
// the process was killed: 10 s of CPU profiles of 40 processes at a time.
func BenchmarkOpenFullHead(b *testing.B) {
	o := benchOptions(b)
	o.Head = 1 << 40 // none is flushed
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	var programs []*program
	for i := range 40 {
		programs = append(programs, newProgram(uint64(i)))
	}
	for n := 0; s.Stats().HeadBytes < DefaultHead && s.Stats().Journal.PayloadBytes < headRecords-2*journalSegment; n++ {
		var all []New
		for i, p := range programs {
			all = append(all, New{Resource: map[string]string{"service.name": fmt.Sprint("s", i)}, Kind: "cpu", Pprof: p.profile(noon.Add(time.Duration(n)*10*time.Second), 60)})
		}
		write(b, s, store.Tenant{}, all...)
	}
	was := s.Stats()
	s.abandon()
	for b.Loop() {
		s, err := Open(o)
		if err != nil || s.Stats().Profiles != was.Profiles {
			b.Fatal(s.Stats(), err)
		}
		b.StopTimer()
		began := time.Now()
		s.settleAll(s.head, nil)
		b.ReportMetric(time.Since(began).Seconds(), "s-behind")
		s.abandon()
		b.StartTimer()
	}
	b.ReportMetric(float64(was.Profiles), "profiles")
	b.ReportMetric(float64(was.HeadBytes), "head-bytes")
	b.ReportMetric(float64(was.Journal.PayloadBytes), "journal-bytes")
}
