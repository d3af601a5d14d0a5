package pprofile

import (
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math"
	"slices"

	"github.com/google/pprof/profile"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pprofile"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Labels that become the link of a sample to its span, when they are ids.
const (
	labelTrace = "trace_id"
	labelSpan  = "span_id"
)

// FromPprof returns p as OTLP. kind is what it measures; "" leaves that to be
// guessed. p must be valid (profile.CheckValid) and is not kept.
func FromPprof(p *profile.Profile, resource map[string]string, kind string) pprofile.Profiles {
	b := NewBatch()
	b.Add(p, resource, kind)
	return b.Profiles()
}

// Batch collects profiles that share one dictionary: what several of them have
// in common is sent once.
type Batch struct {
	out       pprofile.Profiles
	dict      pprofile.ProfilesDictionary
	strings   map[string]int32
	functions map[function]int32
	mappings  map[mapping]int32
	locations map[string]int32 // by encoded content, as stacks, attributes and links
	stacks    map[string]int32
	attrs     map[string]int32
	links     map[link]int32
	key       []byte
}

type function struct {
	name, system, file string
	start              int64
}

type mapping struct {
	start, limit, offset uint64
	file, build          string
	has                  [4]bool
}

type link struct {
	trace pcommon.TraceID
	span  pcommon.SpanID
}

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := &Batch{
		out: pprofile.NewProfiles(), strings: map[string]int32{}, functions: map[function]int32{}, mappings: map[mapping]int32{},
		locations: map[string]int32{}, stacks: map[string]int32{}, attrs: map[string]int32{}, links: map[link]int32{},
	}
	b.dict = b.out.Dictionary()
	// The first of each table stands for none.
	b.string("")
	b.dict.FunctionTable().AppendEmpty()
	b.dict.MappingTable().AppendEmpty()
	b.dict.LocationTable().AppendEmpty()
	b.dict.StackTable().AppendEmpty()
	b.dict.AttributeTable().AppendEmpty()
	b.dict.LinkTable().AppendEmpty()
	return b
}

// Profiles returns what was added. The batch must not be used after it.
func (b *Batch) Profiles() pprofile.Profiles { return b.out }

// Add adds p as a resource of its own; see FromPprof.
func (b *Batch) Add(p *profile.Profile, resource map[string]string, kind string) {
	rp := b.out.ResourceProfiles().AppendEmpty()
	for _, k := range slices.Sorted(maps.Keys(resource)) {
		rp.Resource().Attributes().PutStr(k, resource[k])
	}
	sp := rp.ScopeProfiles().AppendEmpty()
	order := sp.Scope().Attributes().PutEmptySlice(semconv.PprofScopeSampleTypeOrder)
	if p.DefaultSampleType != "" {
		sp.Scope().Attributes().PutStr(semconv.PprofScopeDefaultSampleType, p.DefaultSampleType)
	}
	about := b.about(p, kind)
	all := make([]pprofile.SampleSlice, len(p.SampleType))
	for i, t := range p.SampleType {
		order.AppendEmpty().SetInt(int64(i))
		op := sp.Profiles().AppendEmpty()
		op.SampleType().SetTypeStrindex(b.string(t.Type))
		op.SampleType().SetUnitStrindex(b.string(t.Unit))
		op.SetTime(pcommon.Timestamp(max(p.TimeNanos, 0)))
		op.SetDurationNano(uint64(max(p.DurationNanos, 0)))
		if p.PeriodType != nil {
			op.PeriodType().SetTypeStrindex(b.string(p.PeriodType.Type))
			op.PeriodType().SetUnitStrindex(b.string(p.PeriodType.Unit))
		}
		op.SetPeriod(p.Period)
		op.AttributeIndices().FromRaw(about)
		all[i] = op.Samples()
		all[i].EnsureCapacity(len(p.Sample))
	}
	known := map[*profile.Location]int32{}
	for _, s := range p.Sample {
		stack := b.stack(s, known)
		at, attrs := b.labels(s)
		for i := range all {
			os := all[i].AppendEmpty()
			os.SetStackIndex(stack)
			os.SetLinkIndex(at)
			os.AttributeIndices().FromRaw(attrs)
			os.Values().Append(s.Value[i])
		}
	}
}

// about is what stands beside the samples.
func (b *Batch) about(p *profile.Profile, kind string) []int32 {
	var out []int32
	text := func(key, value string) {
		if value != "" {
			out = append(out, b.attr(key, "", pcommon.NewValueStr(value)))
		}
	}
	text(semconv.GuanlanProfileType, kind)
	text(semconv.PprofProfileDocURL, p.DocURL)
	text(semconv.PprofProfileDropFrames, p.DropFrames)
	text(semconv.PprofProfileKeepFrames, p.KeepFrames)
	if len(p.Comments) > 0 {
		v := pcommon.NewValueSlice()
		for _, c := range p.Comments {
			v.Slice().AppendEmpty().SetStr(c)
		}
		out = append(out, b.attr(semconv.PprofProfileComment, "", v))
	}
	return out
}

func (b *Batch) string(s string) int32 {
	i, ok := b.strings[s]
	if !ok {
		i = int32(b.dict.StringTable().Len())
		b.strings[s] = i
		b.dict.StringTable().Append(s)
	}
	return i
}

func (b *Batch) function(f *profile.Function) int32 {
	if f == nil {
		return 0
	}
	k := function{f.Name, f.SystemName, f.Filename, f.StartLine}
	i, ok := b.functions[k]
	if !ok {
		i = int32(b.dict.FunctionTable().Len())
		b.functions[k] = i
		of := b.dict.FunctionTable().AppendEmpty()
		of.SetNameStrindex(b.string(f.Name))
		of.SetSystemNameStrindex(b.string(f.SystemName))
		of.SetFilenameStrindex(b.string(f.Filename))
		of.SetStartLine(f.StartLine)
	}
	return i
}

func (b *Batch) mapping(m *profile.Mapping) int32 {
	if m == nil {
		return 0
	}
	has := [4]bool{m.HasFunctions, m.HasFilenames, m.HasLineNumbers, m.HasInlineFrames}
	k := mapping{m.Start, m.Limit, m.Offset, m.File, m.BuildID, has}
	i, ok := b.mappings[k]
	if !ok {
		i = int32(b.dict.MappingTable().Len())
		b.mappings[k] = i
		om := b.dict.MappingTable().AppendEmpty()
		om.SetMemoryStart(m.Start)
		om.SetMemoryLimit(m.Limit)
		om.SetFileOffset(m.Offset)
		om.SetFilenameStrindex(b.string(m.File))
		if m.BuildID != "" {
			om.AttributeIndices().Append(b.attr(semconv.ProcessExecutableBuildIDGNU, "", pcommon.NewValueStr(m.BuildID)))
		}
		for j, key := range mappingFlags {
			if has[j] {
				om.AttributeIndices().Append(b.attr(key, "", pcommon.NewValueBool(true)))
			}
		}
	}
	return i
}

var mappingFlags = [4]string{
	semconv.PprofMappingHasFunctions, semconv.PprofMappingHasFilenames,
	semconv.PprofMappingHasLineNumbers, semconv.PprofMappingHasInlineFrames,
}

func (b *Batch) location(l *profile.Location) int32 {
	m := b.mapping(l.Mapping)
	k := binary.AppendUvarint(b.key[:0], uint64(m))
	k = binary.AppendUvarint(k, l.Address)
	k = append(k, flag(l.IsFolded))
	for _, line := range l.Line {
		k = binary.AppendUvarint(k, uint64(b.function(line.Function)))
		k = binary.AppendVarint(k, line.Line)
		k = binary.AppendVarint(k, line.Column)
	}
	b.key = k
	i, ok := b.locations[string(k)]
	if ok {
		return i
	}
	i = int32(b.dict.LocationTable().Len())
	b.locations[string(k)] = i
	ol := b.dict.LocationTable().AppendEmpty()
	ol.SetMappingIndex(m)
	ol.SetAddress(l.Address)
	if l.IsFolded {
		ol.AttributeIndices().Append(b.attr(semconv.PprofLocationIsFolded, "", pcommon.NewValueBool(true)))
	}
	for _, line := range l.Line {
		o := ol.Lines().AppendEmpty()
		o.SetFunctionIndex(b.function(line.Function))
		o.SetLine(line.Line)
		o.SetColumn(line.Column)
	}
	return i
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func (b *Batch) stack(s *profile.Sample, known map[*profile.Location]int32) int32 {
	if len(s.Location) == 0 {
		return 0
	}
	ids := make([]int32, len(s.Location))
	for i, l := range s.Location {
		id, ok := known[l]
		if !ok {
			id = b.location(l)
			known[l] = id
		}
		ids[i] = id
	}
	k := b.key[:0]
	for _, id := range ids {
		k = binary.AppendUvarint(k, uint64(id))
	}
	b.key = k
	i, ok := b.stacks[string(k)]
	if !ok {
		i = int32(b.dict.StackTable().Len())
		b.stacks[string(k)] = i
		b.dict.StackTable().AppendEmpty().LocationIndices().FromRaw(ids)
	}
	return i
}

// labels gives the link and the attributes of a sample.
func (b *Batch) labels(s *profile.Sample) (int32, []int32) {
	at, linked := b.link(s)
	var out []int32
	for _, k := range slices.Sorted(maps.Keys(s.Label)) {
		v := s.Label[k]
		switch {
		case linked && k == labelTrace, linked && k == labelSpan:
		case len(v) == 1:
			out = append(out, b.attr(k, "", pcommon.NewValueStr(v[0])))
		case len(v) > 1:
			values := pcommon.NewValueSlice()
			for _, one := range v {
				values.Slice().AppendEmpty().SetStr(one)
			}
			out = append(out, b.attr(k, "", values))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.NumLabel)) {
		numbers, units := s.NumLabel[k], s.NumUnit[k]
		// One attribute has one unit, so that each run of equal units is one.
		for from := 0; from < len(numbers); {
			to := from + 1
			for to < len(numbers) && unitOf(units, to) == unitOf(units, from) {
				to++
			}
			v := pcommon.NewValueInt(numbers[from])
			if to-from > 1 {
				v = pcommon.NewValueSlice()
				for _, n := range numbers[from:to] {
					v.Slice().AppendEmpty().SetInt(n)
				}
			}
			out = append(out, b.attr(k, unitOf(units, from), v))
			from = to
		}
	}
	return at, out
}

func unitOf(units []string, i int) string {
	if i < len(units) {
		return units[i]
	}
	return ""
}

// link is the span that the labels of a sample name; none unless they are ids
// exactly as a link's would be written, so that nothing is lost on the way back.
func (b *Batch) link(s *profile.Sample) (int32, bool) {
	traces, spans := s.Label[labelTrace], s.Label[labelSpan]
	if len(traces) != 1 || len(spans) > 1 {
		return 0, false
	}
	var k link
	if !readID(k.trace[:], traces[0]) || k.trace.IsEmpty() {
		return 0, false
	}
	if len(spans) == 1 && (!readID(k.span[:], spans[0]) || k.span.IsEmpty()) {
		return 0, false
	}
	i, ok := b.links[k]
	if !ok {
		i = int32(b.dict.LinkTable().Len())
		b.links[k] = i
		l := b.dict.LinkTable().AppendEmpty()
		l.SetTraceID(k.trace)
		l.SetSpanID(k.span)
	}
	return i, true
}

func readID(id []byte, s string) bool {
	if len(s) != 2*len(id) {
		return false
	}
	_, err := hex.Decode(id, []byte(s))
	return err == nil && hex.EncodeToString(id) == s
}

func (b *Batch) attr(key, unit string, v pcommon.Value) int32 {
	k := make([]byte, 0, 64)
	for _, s := range []string{key, unit} {
		k = append(binary.AppendUvarint(k, uint64(len(s))), s...)
	}
	k = valueKey(k, v)
	i, ok := b.attrs[string(k)]
	if !ok {
		i = int32(b.dict.AttributeTable().Len())
		b.attrs[string(k)] = i
		a := b.dict.AttributeTable().AppendEmpty()
		a.SetKeyStrindex(b.string(key))
		a.SetUnitStrindex(b.string(unit))
		v.CopyTo(a.Value())
	}
	return i
}

// valueKey appends what tells values of attributes apart.
func valueKey(k []byte, v pcommon.Value) []byte {
	k = append(k, byte(v.Type()))
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return binary.AppendVarint(k, v.Int())
	case pcommon.ValueTypeDouble:
		return binary.LittleEndian.AppendUint64(k, math.Float64bits(v.Double()))
	case pcommon.ValueTypeBool:
		return append(k, flag(v.Bool()))
	case pcommon.ValueTypeSlice:
		for _, one := range v.Slice().All() {
			k = valueKey(k, one)
		}
		return append(k, 0xff)
	}
	s := v.AsString()
	return append(binary.AppendUvarint(k, uint64(len(s))), s...)
}
