package pprofile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math"
	"math/big"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"pgregory.net/rapid"
)

// text writes all that samples say, in an order of its own.
func text(p *profile.Profile) string {
	var rows []string
	for _, s := range p.Sample {
		var b strings.Builder
		fmt.Fprintln(&b, "sample", s.Value, s.Label, s.NumLabel, s.NumUnit)
		for _, l := range s.Location {
			fmt.Fprintf(&b, "  %x folded=%v", l.Address, l.IsFolded)
			if m := l.Mapping; m != nil {
				fmt.Fprintf(&b, " [%x %x %x %q %q %v %v %v %v]", m.Start, m.Limit, m.Offset, m.File, m.BuildID, m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames)
			}
			for _, n := range l.Line {
				fmt.Fprintf(&b, " (%q %q %q %d:%d:%d)", n.Function.Name, n.Function.SystemName, n.Function.Filename, n.Function.StartLine, n.Line, n.Column)
			}
			b.WriteByte('\n')
		}
		rows = append(rows, b.String())
	}
	slices.Sort(rows)
	var types []string
	for _, t := range append([]*profile.ValueType{p.PeriodType}, p.SampleType...) {
		if t == nil {
			t = &profile.ValueType{}
		}
		types = append(types, t.Type+"/"+t.Unit)
	}
	return fmt.Sprintf("%v %q period=%d time=%d+%d comments=%q doc=%q drop=%q keep=%q\n%s", types, p.DefaultSampleType, p.Period,
		p.TimeNanos, p.DurationNanos, p.Comments, p.DocURL, p.DropFrames, p.KeepFrames, strings.Join(rows, ""))
}

func back(t testing.TB, pd pprofile.Profiles) []Profile {
	t.Helper()
	// Through the wire, as senders do it.
	raw, err := pprofileotlp.NewExportRequestFromProfiles(pd).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	req := pprofileotlp.NewExportRequest()
	if err := req.UnmarshalProto(raw); err != nil {
		t.Fatal(err)
	}
	out, err := ToPprof(req.Profiles())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTripOfOwnProfiles(t *testing.T) {
	for _, name := range []string{"heap", "allocs", "goroutine"} {
		runtime.GC()
		var raw bytes.Buffer
		if err := pprof.Lookup(name).WriteTo(&raw, 0); err != nil {
			t.Fatal(err)
		}
		p, err := Read(raw.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := Kind(p); got != name {
			t.Errorf("kind of a %s profile: %q", name, got)
		}
		resource := map[string]string{"service.name": "shop", "host.name": "a"}
		got := back(t, FromPprof(p, resource, ""))
		if len(got) != 1 {
			t.Fatalf("%s: %d profiles", name, len(got))
		}
		if got[0].Kind != name || !cmp.Equal(got[0].Resource, resource) {
			t.Errorf("%s: got kind %q of %v", name, got[0].Kind, got[0].Resource)
		}
		if diff := cmp.Diff(text(p), text(got[0].Pprof)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if err := got[0].Pprof.CheckValid(); err != nil {
			t.Error(err)
		}
	}
}

// draw makes any valid profile.
func draw(t *rapid.T) *profile.Profile {
	word := rapid.SampledFrom([]string{"", "a", "main.f", "cpu", "nanoseconds", "trace_id", "span_id", "x.go", "世界"})
	small := rapid.Int64Range(0, 3)
	p := &profile.Profile{
		DefaultSampleType: word.Draw(t, "default"), DocURL: word.Draw(t, "doc"), DropFrames: word.Draw(t, "drop"), KeepFrames: word.Draw(t, "keep"),
		TimeNanos: small.Draw(t, "time"), DurationNanos: small.Draw(t, "duration"), Period: small.Draw(t, "period"),
		Comments: rapid.SliceOfN(word, 0, 2).Draw(t, "comments"),
	}
	if len(p.Comments) == 0 {
		p.Comments = nil
	}
	if typ := word.Draw(t, "period type"); typ != "" {
		p.PeriodType = &profile.ValueType{Type: typ, Unit: word.Draw(t, "period unit")}
	}
	for range rapid.IntRange(1, 3).Draw(t, "types") {
		p.SampleType = append(p.SampleType, &profile.ValueType{Type: word.Draw(t, "type"), Unit: word.Draw(t, "unit")})
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "mappings") {
		has := rapid.SliceOfN(rapid.Bool(), 4, 4).Draw(t, "has")
		p.Mapping = append(p.Mapping, &profile.Mapping{ID: uint64(i + 1), Start: uint64(small.Draw(t, "start")), Limit: 9, Offset: uint64(small.Draw(t, "offset")),
			File: word.Draw(t, "file"), BuildID: word.Draw(t, "build"), HasFunctions: has[0], HasFilenames: has[1], HasLineNumbers: has[2], HasInlineFrames: has[3]})
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "functions") {
		p.Function = append(p.Function, &profile.Function{ID: uint64(i + 1), Name: word.Draw(t, "name"), SystemName: word.Draw(t, "system"), Filename: word.Draw(t, "filename"), StartLine: small.Draw(t, "start line")})
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "locations") {
		l := &profile.Location{ID: uint64(i + 1), Address: rapid.Uint64().Draw(t, "address"), IsFolded: rapid.Bool().Draw(t, "folded")}
		if len(p.Mapping) > 0 && rapid.Bool().Draw(t, "mapped") {
			l.Mapping = rapid.SampledFrom(p.Mapping).Draw(t, "mapping")
		}
		for range rapid.IntRange(0, 3).Draw(t, "lines") {
			l.Line = append(l.Line, profile.Line{Function: rapid.SampledFrom(p.Function).Draw(t, "function"), Line: rapid.Int64().Draw(t, "line"), Column: small.Draw(t, "column")})
		}
		p.Location = append(p.Location, l)
	}
	id := rapid.SampledFrom([]string{"4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "4BF92F3577B34DA6A3CE929D0E0E4736", "0000000000000000", "v"})
	for range rapid.IntRange(0, 5).Draw(t, "samples") {
		s := &profile.Sample{Location: rapid.SliceOfN(rapid.SampledFrom(p.Location), 0, 4).Draw(t, "stack")}
		for range p.SampleType {
			s.Value = append(s.Value, rapid.Int64().Draw(t, "value"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "labels") {
			if s.Label == nil {
				s.Label = map[string][]string{}
			}
			k := word.Filter(func(s string) bool { return s != "" }).Draw(t, "label")
			s.Label[k] = append(s.Label[k], id.Draw(t, "id"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "numbers") {
			if s.NumLabel == nil {
				s.NumLabel = map[string][]int64{}
			}
			k := rapid.SampledFrom([]string{"n", "m"}).Draw(t, "number")
			n := rapid.Int64Range(1, 5).Draw(t, "n")
			s.NumLabel[k] = append(s.NumLabel[k], n)
			if unit := rapid.SampledFrom([]string{"", "bytes", "s"}).Draw(t, "label unit"); unit != "" && s.NumUnit[k] == nil {
				if s.NumUnit == nil {
					s.NumUnit = map[string][]string{}
				}
				s.NumUnit[k] = make([]string, len(s.NumLabel[k]))
				s.NumUnit[k][len(s.NumUnit[k])-1] = unit
			} else if s.NumUnit[k] != nil {
				s.NumUnit[k] = append(s.NumUnit[k], unit)
			}
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

func TestRoundTripOfAnyProfile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := NewBatch()
		var want []string
		for i := range rapid.IntRange(1, 3).Draw(rt, "profiles") {
			p := draw(rt)
			if err := p.CheckValid(); err != nil {
				rt.Fatal(err)
			}
			want = append(want, text(p))
			b.Add(p, map[string]string{"n": fmt.Sprint(i)}, "any")
		}
		var got []string
		for _, p := range back(t, b.Profiles()) {
			if err := p.Pprof.CheckValid(); err != nil {
				rt.Fatal(err)
			}
			got = append(got, text(p.Pprof))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

// foreign is a message as OpenTelemetry's eBPF profiler sends it: one value, an
// event a timestamp, native frames without names, labels as attributes.
func foreign() pprofile.Profiles {
	pd := pprofile.NewProfiles()
	d := pd.Dictionary()
	d.StringTable().Append("", "samples", "count", "cpu", "nanoseconds", "main.work", "main.go", "shop", "do_syscall_64", "thread.name", "profile.frame.type", "process.executable.build_id.htlhash")
	d.FunctionTable().AppendEmpty()
	work := d.FunctionTable().AppendEmpty()
	work.SetNameStrindex(5)
	work.SetFilenameStrindex(6)
	d.FunctionTable().AppendEmpty().SetNameStrindex(8)
	for _, kv := range [][2]any{{int32(0), ""}, {int32(9), "worker"}, {int32(10), "kernel"}, {int32(10), "native"}, {int32(11), "abc"}} {
		a := d.AttributeTable().AppendEmpty()
		a.SetKeyStrindex(kv[0].(int32))
		a.Value().SetStr(kv[1].(string))
	}
	d.MappingTable().AppendEmpty()
	m := d.MappingTable().AppendEmpty()
	m.SetFilenameStrindex(7)
	m.AttributeIndices().Append(4)
	d.LocationTable().AppendEmpty()
	kernel := d.LocationTable().AppendEmpty()
	kernel.SetAddress(0xffffffff81000000)
	kernel.AttributeIndices().Append(2)
	kernel.Lines().AppendEmpty().SetFunctionIndex(2)
	goFrame := d.LocationTable().AppendEmpty()
	goFrame.SetMappingIndex(1)
	line := goFrame.Lines().AppendEmpty()
	line.SetFunctionIndex(1)
	line.SetLine(12)
	native := d.LocationTable().AppendEmpty()
	native.SetMappingIndex(1)
	native.SetAddress(0x1234)
	native.AttributeIndices().Append(3)
	d.StackTable().AppendEmpty()
	d.StackTable().AppendEmpty().LocationIndices().Append(1, 2, 3)
	d.LinkTable().AppendEmpty()
	d.LinkTable().AppendEmpty().SetTraceID(pcommon.TraceID{1})

	rp := pd.ResourceProfiles().AppendEmpty()
	rp.Resource().Attributes().PutStr("container.id", "c1")
	rp.Resource().Attributes().PutInt("process.pid", 7)
	p := rp.ScopeProfiles().AppendEmpty().Profiles().AppendEmpty()
	p.SampleType().SetTypeStrindex(1)
	p.SampleType().SetUnitStrindex(2)
	p.PeriodType().SetTypeStrindex(3)
	p.PeriodType().SetUnitStrindex(4)
	p.SetPeriod(50_000_000)
	p.SetTime(1000)
	p.SetDurationNano(5000)
	s := p.Samples().AppendEmpty()
	s.SetStackIndex(1)
	s.SetLinkIndex(1)
	s.AttributeIndices().Append(1)
	s.TimestampsUnixNano().Append(1, 2, 3)
	return pd
}

func TestOtherProducers(t *testing.T) {
	got := back(t, foreign())
	if len(got) != 1 {
		t.Fatalf("%d profiles", len(got))
	}
	if got[0].Kind != CPU || got[0].Resource["process.pid"] != "7" {
		t.Errorf("kind %q of %v", got[0].Kind, got[0].Resource)
	}
	want := `[cpu/nanoseconds samples/count cpu/nanoseconds] "" period=50000000 time=1000+5000 comments=[] doc="" drop="" keep=""
sample [3 150000000] map[thread.name:[worker] trace_id:[01000000000000000000000000000000]] map[] map[]
  ffffffff81000000 folded=false [8000000000000000 ffffffffffffffff 0 "[kernel]" "" true false false false] ("do_syscall_64" "" "" 0:0:0)
  0 folded=false [0 0 0 "shop" "abc" false false false false] ("main.work" "" "main.go" 0:12:0)
  1234 folded=false [0 0 0 "shop" "abc" false false false false]
`
	if diff := cmp.Diff(want, text(got[0].Pprof)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := got[0].Pprof.Write(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(out.Bytes()); err != nil {
		t.Errorf("what pprof would read: %v", err)
	}
}

func TestIndicesThatPointNowhere(t *testing.T) {
	f := func(want string, spoil func(d pprofile.ProfilesDictionary, p pprofile.Profile)) {
		t.Helper()
		pd := foreign()
		spoil(pd.Dictionary(), pd.ResourceProfiles().At(0).ScopeProfiles().At(0).Profiles().At(0))
		_, err := ToPprof(pd)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one that names %s", err, want)
		}
	}
	type dict = pprofile.ProfilesDictionary
	type prof = pprofile.Profile
	for _, bad := range []int32{-1, 99} {
		f("resource_profiles[0].scope_profiles[0].profiles[0].samples[0].stack_index", func(_ dict, p prof) { p.Samples().At(0).SetStackIndex(bad) })
		f("samples[0].link_index", func(_ dict, p prof) { p.Samples().At(0).SetLinkIndex(bad) })
		f("samples[0].attribute_indices[0]", func(_ dict, p prof) { p.Samples().At(0).AttributeIndices().SetAt(0, bad) })
		f("sample_type.unit_strindex", func(_ dict, p prof) { p.SampleType().SetUnitStrindex(bad) })
		f("period_type.type_strindex", func(_ dict, p prof) { p.PeriodType().SetTypeStrindex(bad) })
		f("dictionary.stack_table[1].location_indices[2]", func(d dict, _ prof) { d.StackTable().At(1).LocationIndices().SetAt(2, bad) })
		f("dictionary.location_table[2].mapping_index", func(d dict, _ prof) { d.LocationTable().At(2).SetMappingIndex(bad) })
		f("dictionary.location_table[2].lines[0].function_index", func(d dict, _ prof) { d.LocationTable().At(2).Lines().At(0).SetFunctionIndex(bad) })
		f("dictionary.function_table[1].filename_strindex", func(d dict, _ prof) { d.FunctionTable().At(1).SetFilenameStrindex(bad) })
		f("dictionary.mapping_table[1].attribute_indices[0]", func(d dict, _ prof) { d.MappingTable().At(1).AttributeIndices().SetAt(0, bad) })
		f("dictionary.attribute_table[1].key_strindex", func(d dict, _ prof) { d.AttributeTable().At(1).SetKeyStrindex(bad) })
	}
	f("referred to more than", func(d dict, p prof) {
		long := make([]int32, 1<<16)
		for i := range long {
			long[i] = 2
		}
		d.StackTable().At(1).LocationIndices().FromRaw(long)
		for range 1 << 9 {
			p.Samples().AppendEmpty().SetStackIndex(1)
		}
	})
}

// TestMessagesAreBounded: what sums would look through for each profile is few.
func TestMessagesAreBounded(t *testing.T) {
	p := own(MaxTypes+1, 0)
	if _, err := ToPprof(FromPprof(p, nil, "x")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "65 types of values in one, more than 64") {
		t.Errorf("many types: %v", err)
	}
	if _, err := ToPprof(FromPprof(own(1, MaxComments+1), nil, "x")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "1025 comments, more than 1024") {
		t.Errorf("many comments: %v", err)
	}
	if _, err := ToPprof(FromPprof(own(MaxTypes, MaxComments), nil, "x")); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
}

// own is a profile of one sample.
func own(types, comments int) *profile.Profile {
	p := &profile.Profile{Sample: []*profile.Sample{{Value: make([]int64, types)}}, Comments: make([]string, comments)}
	for i := range types {
		p.SampleType = append(p.SampleType, &profile.ValueType{Type: fmt.Sprint("t", i)})
	}
	return p
}

// TestReadIsBounded: what would take much more memory than it has bytes is
// refused before it is parsed, with the name of the field.
func TestReadIsBounded(t *testing.T) {
	f := func(want string, one string, n int) {
		t.Helper()
		_, err := Read([]byte(strings.Repeat(one, n)))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f("sample: 1048577, more than 1048576", "\x12\x00", MaxSamples+1)
	f("location: 1048577, more than", "\x22\x00", MaxSymbols+1)
	f("function: 1048577, more than", "\x2a\x00", MaxSymbols+1)
	f("string_table: 1048577, more than", "\x32\x00", MaxSymbols+1)
	f("sample.label: 524340, more than", "\x12\x78"+strings.Repeat("\x1a\x00", 60), MaxLabels/60+1)
	f("sample.location_id: 16778240, more than", "\x12\x83\x08\x0a\x80\x08"+strings.Repeat("\x01", 1024), MaxFrames/1024+1)
	f("sample.location_id: 16778240, more than", "\x12\x80\x10"+strings.Repeat("\x08\x01", 1024), MaxFrames/1024+1)
	f("sample.value: 16778240, more than", "\x12\x83\x10\x12\x80\x10"+strings.Repeat("\x80\x01", 1024), MaxFrames/1024+1)
	f("sample_type: 65, more than", "\x0a\x00", MaxTypes+1)
	f("comment: 2048, more than", "\x6a\x80\x08"+strings.Repeat("\x01", 1024), 2)
	f("comment: 1025, more than", "\x68\x01", MaxComments+1)
	f("location.line: 4194360, more than", "\x22\x78"+strings.Repeat("\x22\x00", 60), 4*MaxSymbols/60+1)
	f("it is empty", "", 1)
	f("malformed", "\x48\x01", 1)
	f("a field has no end", "\x12\x7f", 1)

	var bomb bytes.Buffer // one member of a megabyte, again and again
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	again := bytes.Repeat(bomb.Bytes(), MaxBytes>>20+1)
	if _, err := Read(again); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "more than 128 MiB") {
		t.Errorf("a bomb: %v", err)
	}
}

func FuzzToPprof(f *testing.F) {
	raw, err := pprofileotlp.NewExportRequestFromProfiles(foreign()).MarshalProto()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		req := pprofileotlp.NewExportRequest()
		if req.UnmarshalProto(raw) != nil {
			return
		}
		got, err := ToPprof(req.Profiles())
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for _, p := range got {
			if err := p.Pprof.CheckValid(); err != nil {
				t.Fatalf("an invalid profile: %v", err)
			}
			again := back(t, FromPprof(p.Pprof, p.Resource, p.Kind))
			if len(again) != 1 {
				t.Fatalf("%d profiles of one", len(again))
			}
			// Times before 1970 and beyond 2262 are not kept.
			if a, b := text(p.Pprof), text(again[0].Pprof); a != b {
				t.Fatal(cmp.Diff(a, b))
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	var raw bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&raw, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(raw.Bytes())
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Read(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		_ = Kind(p)
		if got, err := ToPprof(FromPprof(p, nil, "x")); err != nil || len(got) != 1 {
			t.Fatalf("%d profiles, %v", len(got), err)
		}
	})
}

func TestSumsStayAtTheEnds(t *testing.T) {
	ends := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := ends.Draw(t, "a"), ends.Draw(t, "b")
		want := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
		for _, end := range []int64{math.MinInt64, math.MaxInt64} {
			if end := big.NewInt(end); !want.IsInt64() && want.Sign() == end.Sign() {
				want = end
			}
		}
		if got := Plus(a, b); got != want.Int64() {
			t.Errorf("%d + %d = %d, want %d", a, b, got, want)
		}
	})
}
