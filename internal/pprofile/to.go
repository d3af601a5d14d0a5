package pprofile

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/pprof/profile"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pprofile"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// Profile is one profile of a resource.
type Profile struct {
	Resource map[string]string
	Kind     string // what it measures; see Kind
	Pprof    *profile.Profile
}

// KernelFile is the file of mappings whose addresses are the kernel's.
const KernelFile = "[kernel]"

// ToPprof returns the profiles of pd in the format of pprof. What is not
// referred to by a sample is left out. An index that points nowhere is an error
// that wraps ErrInvalid and names the field; nothing is returned then.
//
// Samples of other producers may carry a time for each event; these become the
// count of events. Profiles of one value that counts samples of the CPU get the
// time as a second value, as Go's have it.
func ToPprof(pd pprofile.Profiles) ([]Profile, error) {
	d := dictionary{dict: pd.Dictionary()}
	d.load()
	var out []Profile
	for i, rp := range pd.ResourceProfiles().All() {
		resource := map[string]string{}
		for k, v := range rp.Resource().Attributes().All() {
			resource[k] = v.AsString()
		}
		for j, sp := range rp.ScopeProfiles().All() {
			for _, group := range groups(sp) {
				c := converter{dictionary: &d}
				p, err := c.convert(sp, group)
				if err != nil {
					return nil, fmt.Errorf("resource_profiles[%d].scope_profiles[%d].%w: %w", i, j, err, ErrInvalid)
				}
				p.Resource = resource
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// groups gives the places of profiles in a scope that are one in pprof: all of
// a scope that came from pprof, else each on its own.
func groups(sp pprofile.ScopeProfiles) [][]int {
	all := sp.Profiles()
	n := all.Len()
	order, ok := sp.Scope().Attributes().Get(semconv.PprofScopeSampleTypeOrder)
	if ok && order.Type() == pcommon.ValueTypeSlice && order.Slice().Len() == n && n > 0 {
		places := make([]int, n)
		whole := true
		for i := range places {
			places[i] = i
			p, first := all.At(i), all.At(0)
			whole = whole && p.Time() == first.Time() && p.DurationNano() == first.DurationNano() && p.Samples().Len() == first.Samples().Len()
		}
		if whole {
			slices.SortStableFunc(places, func(a, b int) int {
				return int(sign(order.Slice().At(a).Int() - order.Slice().At(b).Int()))
			})
			return [][]int{places}
		}
	}
	out := make([][]int, n)
	for i := range out {
		out[i] = []int{i}
	}
	return out
}

func sign(n int64) int64 { return min(max(n, -1), 1) }

// dictionary reads the tables that all profiles of a message share.
type dictionary struct {
	dict    pprofile.ProfilesDictionary
	strings []string
	attrs   []attribute
	spent   int // of MaxFrames
}

// spend counts what a message has others repeat. Tables are shared by samples
// and by profiles, so that a small message could become a large profile.
func (d *dictionary) spend(n int) error {
	if d.spent += n; d.spent > MaxFrames {
		return fmt.Errorf("dictionary: locations, lines and attributes are referred to more than %d times", MaxFrames)
	}
	return nil
}

type attribute struct {
	key, unit string
	value     pcommon.Value
	text      string // of the value
	bad       string // the field that points nowhere
}

func (d *dictionary) load() {
	d.strings = d.dict.StringTable().AsRaw()
	for i, a := range d.dict.AttributeTable().All() {
		at := attribute{value: a.Value(), text: a.Value().AsString()}
		var err error
		if at.key, err = d.string(a.KeyStrindex(), "key_strindex"); err == nil {
			at.unit, err = d.string(a.UnitStrindex(), "unit_strindex")
		}
		if err != nil { // it counts when something refers to it
			at.bad = fmt.Sprintf("dictionary.attribute_table[%d].%v", i, err)
		}
		d.attrs = append(d.attrs, at)
	}
}

func (d *dictionary) string(i int32, field string) (string, error) {
	if i == 0 && len(d.strings) == 0 {
		return "", nil
	}
	if i < 0 || int(i) >= len(d.strings) {
		return "", outOf(field, i, len(d.strings))
	}
	return d.strings[i], nil
}

func outOf(field string, i int32, n int) error {
	return fmt.Errorf("%s %d is outside of its table of %d", field, i, n)
}

// attributes gives those that the indices name. A producer may not have put an
// empty one first, so that an index of 0 is only none when it has no key.
func (d *dictionary) attributes(indices pcommon.Int32Slice, yield func(attribute)) error {
	for i, at := range indices.All() {
		if at < 0 || int(at) >= len(d.attrs) {
			return outOf(fmt.Sprintf("attribute_indices[%d]", i), at, len(d.attrs))
		}
		a := d.attrs[at]
		if a.bad != "" {
			return fmt.Errorf("attribute_indices[%d]: %s", i, a.bad)
		}
		if a.key == "" {
			continue
		}
		if err := d.spend(a.size()); err != nil {
			return err
		}
		yield(a)
	}
	return nil
}

func (a *attribute) size() int {
	if a.value.Type() == pcommon.ValueTypeSlice {
		return 1 + a.value.Slice().Len()
	}
	return 1
}

// converter makes one pprof profile.
type converter struct {
	*dictionary
	out       *profile.Profile
	functions map[int32]*profile.Function
	mappings  map[int32]*profile.Mapping
	locations map[int32]*profile.Location
	stacks    map[int32][]*profile.Location
	kernel    *profile.Mapping
}

func (c *converter) convert(sp pprofile.ScopeProfiles, group []int) (Profile, error) {
	if len(group) > MaxTypes {
		return Profile{}, fmt.Errorf("profiles: %d types of values in one, more than %d", len(group), MaxTypes)
	}
	c.out = &profile.Profile{}
	c.functions, c.mappings = map[int32]*profile.Function{}, map[int32]*profile.Mapping{}
	c.locations, c.stacks = map[int32]*profile.Location{}, map[int32][]*profile.Location{}
	var kind string
	var common []attribute
	for n, place := range group {
		op := sp.Profiles().At(place)
		err := c.header(op, n == 0, &kind, &common)
		if err == nil && n == 0 {
			err = c.samples(op)
		} else if err == nil {
			err = c.values(op)
		}
		if err != nil {
			return Profile{}, fmt.Errorf("profiles[%d].%w", place, err)
		}
	}
	if v, ok := sp.Scope().Attributes().Get(semconv.PprofScopeDefaultSampleType); ok {
		c.out.DefaultSampleType = v.AsString()
	}
	if n := len(c.out.Comments); n > MaxComments {
		return Profile{}, fmt.Errorf("profiles[%d]: %d comments, more than %d", group[0], n, MaxComments)
	}
	for _, a := range common {
		if err := c.spend(a.size() * len(c.out.Sample)); err != nil {
			return Profile{}, err
		}
		for _, s := range c.out.Sample {
			label(s, a)
		}
	}
	if _, ours := sp.Scope().Attributes().Get(semconv.PprofScopeSampleTypeOrder); !ours {
		c.timed()
	}
	c.sort()
	if kind == "" {
		kind = Kind(c.out)
	}
	return Profile{Kind: kind, Pprof: c.out}, nil
}

// header reads what stands beside the samples.
func (c *converter) header(op pprofile.Profile, first bool, kind *string, common *[]attribute) error {
	var t, period profile.ValueType
	for _, f := range []struct {
		at   int32
		to   *string
		name string
	}{
		{op.SampleType().TypeStrindex(), &t.Type, "sample_type.type_strindex"},
		{op.SampleType().UnitStrindex(), &t.Unit, "sample_type.unit_strindex"},
		{op.PeriodType().TypeStrindex(), &period.Type, "period_type.type_strindex"},
		{op.PeriodType().UnitStrindex(), &period.Unit, "period_type.unit_strindex"},
	} {
		s, err := c.string(f.at, f.name)
		if err != nil {
			return err
		}
		*f.to = s
	}
	c.out.SampleType = append(c.out.SampleType, &t)
	if !first {
		return nil
	}
	if period != (profile.ValueType{}) {
		c.out.PeriodType = &period
	}
	c.out.Period = op.Period()
	c.out.TimeNanos = bounded(uint64(op.Time()))
	c.out.DurationNanos = bounded(op.DurationNano())
	return c.attributes(op.AttributeIndices(), func(a attribute) {
		switch a.key {
		case semconv.GuanlanProfileType:
			*kind = a.text
		case semconv.PprofProfileDocURL:
			c.out.DocURL = a.text
		case semconv.PprofProfileDropFrames:
			c.out.DropFrames = a.text
		case semconv.PprofProfileKeepFrames:
			c.out.KeepFrames = a.text
		case semconv.PprofProfileComment:
			if a.value.Type() != pcommon.ValueTypeSlice {
				c.out.Comments = append(c.out.Comments, a.text)
				break
			}
			for _, one := range a.value.Slice().All() {
				c.out.Comments = append(c.out.Comments, one.AsString())
			}
		default:
			*common = append(*common, a)
		}
	})
}

func bounded(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func (c *converter) samples(op pprofile.Profile) error {
	n := op.Samples().Len()
	if n > MaxSamples {
		return fmt.Errorf("samples: %d, more than %d", n, MaxSamples)
	}
	c.out.Sample = make([]*profile.Sample, 0, n)
	for i, os := range op.Samples().All() {
		s := &profile.Sample{Value: []int64{value(os)}}
		var err error
		s.Location, err = c.stack(os.StackIndex())
		if err == nil {
			err = c.attributes(os.AttributeIndices(), func(a attribute) { label(s, a) })
		}
		if err == nil {
			err = c.link(s, os.LinkIndex())
		}
		if err == nil {
			err = c.spend(len(s.Location))
		}
		if err != nil {
			return fmt.Errorf("samples[%d].%w", i, err)
		}
		c.out.Sample = append(c.out.Sample, s)
	}
	return nil
}

// values adds the values of another profile of the group, whose samples are the
// same.
func (c *converter) values(op pprofile.Profile) error {
	first := c.out.Sample
	for i, os := range op.Samples().All() {
		stack, err := c.stack(os.StackIndex())
		if err != nil {
			return fmt.Errorf("samples[%d].%w", i, err)
		}
		if !slices.Equal(stack, first[i].Location) {
			return fmt.Errorf("samples[%d].stack_index: not that of the scope's first profile, as %s promises", i, semconv.PprofScopeSampleTypeOrder)
		}
		first[i].Value = append(first[i].Value, value(os))
	}
	return nil
}

// value is a sample's sum; events without a value count one each.
func value(os pprofile.Sample) int64 {
	if os.Values().Len() == 0 {
		return int64(os.TimestampsUnixNano().Len())
	}
	var sum int64
	for _, v := range os.Values().All() {
		sum = Plus(sum, v)
	}
	return sum
}

func label(s *profile.Sample, a attribute) {
	number := func(n int64) {
		if s.NumLabel == nil {
			s.NumLabel = map[string][]int64{}
		}
		// Units stand for all values of a key or for none.
		if a.unit != "" && s.NumUnit == nil {
			s.NumUnit = map[string][]string{}
		}
		if a.unit != "" && s.NumUnit[a.key] == nil {
			s.NumUnit[a.key] = make([]string, len(s.NumLabel[a.key]))
		}
		if s.NumUnit[a.key] != nil {
			s.NumUnit[a.key] = append(s.NumUnit[a.key], a.unit)
		}
		s.NumLabel[a.key] = append(s.NumLabel[a.key], n)
	}
	text := func(v string) {
		if s.Label == nil {
			s.Label = map[string][]string{}
		}
		s.Label[a.key] = append(s.Label[a.key], v)
	}
	switch a.value.Type() {
	case pcommon.ValueTypeInt:
		number(a.value.Int())
	case pcommon.ValueTypeSlice:
		for _, one := range a.value.Slice().All() {
			if one.Type() == pcommon.ValueTypeInt {
				number(one.Int())
			} else {
				text(one.AsString())
			}
		}
	default:
		text(a.text)
	}
}

func (c *converter) link(s *profile.Sample, i int32) error {
	table := c.dict.LinkTable()
	if i == 0 && table.Len() == 0 {
		return nil
	}
	if i < 0 || int(i) >= table.Len() {
		return outOf("link_index", i, table.Len())
	}
	l := table.At(int(i))
	if l.TraceID().IsEmpty() {
		return nil
	}
	if s.Label == nil {
		s.Label = map[string][]string{}
	}
	s.Label[labelTrace] = []string{l.TraceID().String()}
	if !l.SpanID().IsEmpty() {
		s.Label[labelSpan] = []string{l.SpanID().String()}
	}
	return nil
}

func (c *converter) stack(i int32) ([]*profile.Location, error) {
	table := c.dict.StackTable()
	if i == 0 && table.Len() == 0 {
		return nil, nil
	}
	if i < 0 || int(i) >= table.Len() {
		return nil, outOf("stack_index", i, table.Len())
	}
	if s, ok := c.stacks[i]; ok {
		return s, nil
	}
	indices := table.At(int(i)).LocationIndices()
	s := make([]*profile.Location, 0, indices.Len())
	for j, at := range indices.All() {
		l, err := c.location(at)
		if err != nil {
			return nil, fmt.Errorf("stack_index: dictionary.stack_table[%d].location_indices[%d]: %w", i, j, err)
		}
		s = append(s, l)
	}
	c.stacks[i] = s
	return s, nil
}

func (c *converter) location(i int32) (*profile.Location, error) {
	table := c.dict.LocationTable()
	if i < 0 || int(i) >= table.Len() {
		return nil, outOf("index", i, table.Len())
	}
	if l, ok := c.locations[i]; ok {
		return l, nil
	}
	ol := table.At(int(i))
	l := &profile.Location{Address: ol.Address()}
	m, err := c.mapping(ol.MappingIndex())
	if err == nil {
		err = c.spend(1 + ol.Lines().Len())
	}
	kernel := false
	if err == nil {
		err = c.attributes(ol.AttributeIndices(), func(a attribute) {
			switch a.key {
			case semconv.PprofLocationIsFolded:
				l.IsFolded = a.value.Type() == pcommon.ValueTypeBool && a.value.Bool()
			case semconv.ProfileFrameType:
				kernel = a.text == "kernel"
			}
		})
	}
	for j, line := range ol.Lines().All() {
		if err != nil {
			break
		}
		var f *profile.Function
		if f, err = c.function(line.FunctionIndex()); err != nil {
			err = fmt.Errorf("lines[%d].%w", j, err)
			break
		}
		l.Line = append(l.Line, profile.Line{Function: f, Line: line.Line(), Column: line.Column()})
	}
	if err != nil {
		return nil, fmt.Errorf("dictionary.location_table[%d].%w", i, err)
	}
	if l.Mapping = m; kernel && (m == nil || m.File == "") {
		if c.kernel == nil {
			c.kernel = &profile.Mapping{Start: 1 << 63, Limit: math.MaxUint64, File: KernelFile, HasFunctions: true}
		}
		l.Mapping = c.kernel
	}
	c.locations[i] = l
	return l, nil
}

// function never returns nil: pprof wants each line to have one.
func (c *converter) function(i int32) (*profile.Function, error) {
	table := c.dict.FunctionTable()
	if i < 0 || int(i) >= table.Len() {
		return nil, outOf("function_index", i, table.Len())
	}
	if f, ok := c.functions[i]; ok {
		return f, nil
	}
	of := table.At(int(i))
	f := &profile.Function{StartLine: of.StartLine()}
	for _, s := range []struct {
		at   int32
		to   *string
		name string
	}{
		{of.NameStrindex(), &f.Name, "name_strindex"}, {of.SystemNameStrindex(), &f.SystemName, "system_name_strindex"},
		{of.FilenameStrindex(), &f.Filename, "filename_strindex"},
	} {
		text, err := c.string(s.at, s.name)
		if err != nil {
			return nil, fmt.Errorf("function_index: dictionary.function_table[%d].%w", i, err)
		}
		*s.to = text
	}
	c.functions[i] = f
	return f, nil
}

func (c *converter) mapping(i int32) (*profile.Mapping, error) {
	table := c.dict.MappingTable()
	if i == 0 {
		return nil, nil // none
	}
	if i < 0 || int(i) >= table.Len() {
		return nil, outOf("mapping_index", i, table.Len())
	}
	if m, ok := c.mappings[i]; ok {
		return m, nil
	}
	om := table.At(int(i))
	m := &profile.Mapping{Start: om.MemoryStart(), Limit: om.MemoryLimit(), Offset: om.FileOffset()}
	var err error
	if m.File, err = c.string(om.FilenameStrindex(), "filename_strindex"); err == nil {
		builds := map[string]string{}
		err = c.attributes(om.AttributeIndices(), func(a attribute) {
			on := a.value.Type() == pcommon.ValueTypeBool && a.value.Bool()
			switch a.key {
			case semconv.PprofMappingHasFunctions:
				m.HasFunctions = on
			case semconv.PprofMappingHasFilenames:
				m.HasFilenames = on
			case semconv.PprofMappingHasLineNumbers:
				m.HasLineNumbers = on
			case semconv.PprofMappingHasInlineFrames:
				m.HasInlineFrames = on
			default:
				builds[a.key] = a.text
			}
		})
		for _, key := range []string{semconv.ProcessExecutableBuildIDGNU, semconv.ProcessExecutableBuildIDGo, semconv.ProcessExecutableBuildIDHash} {
			if m.BuildID == "" {
				m.BuildID = builds[key]
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mapping_index: dictionary.mapping_table[%d].%w", i, err)
	}
	c.mappings[i] = m
	return m, nil
}

// timed adds the time on the CPU to profiles that only count its samples.
func (c *converter) timed() {
	p := c.out
	if len(p.SampleType) != 1 || p.SampleType[0].Type != "samples" || p.PeriodType == nil || p.Period <= 0 ||
		p.PeriodType.Type != "cpu" || p.PeriodType.Unit != "nanoseconds" {
		return
	}
	p.SampleType = append(p.SampleType, &profile.ValueType{Type: "cpu", Unit: "nanoseconds"})
	for _, s := range p.Sample {
		n := s.Value[0]
		if n > math.MaxInt64/p.Period {
			n = math.MaxInt64 / p.Period
		}
		s.Value = append(s.Value, n*p.Period)
	}
}

// sort numbers what the samples refer to, in the order of the dictionary.
func (c *converter) sort() {
	for _, i := range sorted(c.mappings) {
		c.out.Mapping = append(c.out.Mapping, c.mappings[i])
	}
	if c.kernel != nil {
		c.out.Mapping = append(c.out.Mapping, c.kernel)
	}
	for _, i := range sorted(c.functions) {
		c.out.Function = append(c.out.Function, c.functions[i])
	}
	for _, i := range sorted(c.locations) {
		c.out.Location = append(c.out.Location, c.locations[i])
	}
	for i, m := range c.out.Mapping {
		m.ID = uint64(i + 1)
	}
	for i, f := range c.out.Function {
		f.ID = uint64(i + 1)
	}
	for i, l := range c.out.Location {
		l.ID = uint64(i + 1)
	}
}

func sorted[V any](m map[int32]V) []int32 {
	keys := make([]int32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
