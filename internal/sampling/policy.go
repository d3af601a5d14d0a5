// Package sampling is what the sampling policies of services mean: their fields
// and ranges, which one holds for a service, and what a client of Jaeger's
// protocol makes of one. It is pure: where policies are kept and who asks for
// them is not its business.
package sampling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Policy says how many of the traces that begin in a service are kept: a base
// share that gives way under load and rises with errors and latency. A field
// that is absent has its default. The SDK carries it out; docs/guides/apis.md
// describes this JSON, and the SDK reads the same.
type Policy struct {
	Base          *float64                      `json:"base,omitempty" minimum:"0.0001" maximum:"1" doc:"Share that is kept when nothing is the matter; default 0.01."`
	Few           *float64                      `json:"few,omitempty" minimum:"0" maximum:"1000000" doc:"Traces a second that are kept at least, so that a quiet service shows something, 0 for none; default 5."`
	Least         *float64                      `json:"least,omitempty" minimum:"0.0001" maximum:"1" doc:"The share is never below; default 0.0001."`
	Most          *float64                      `json:"most,omitempty" minimum:"0.0001" maximum:"1" doc:"The share is never above; default 1."`
	Busy          *float64                      `json:"busy,omitempty" minimum:"1" maximum:"1000000000" doc:"Requests a second above which the share falls in proportion; default 5000."`
	BusyFloor     *float64                      `json:"busyFloor,omitempty" minimum:"0.0001" maximum:"1" doc:"Part of the share that is left at most load; default 0.1."`
	Errors        *float64                      `json:"errors,omitempty" minimum:"0.0001" maximum:"1" doc:"Share of failed requests from which more is kept; default 0.005."`
	ErrorBoost    *float64                      `json:"errorBoost,omitempty" minimum:"1" maximum:"10000" doc:"How many times as much is kept then; default 10."`
	AllErrors     *float64                      `json:"allErrors,omitempty" minimum:"0.0001" maximum:"1" doc:"Share of failed requests from which all is kept; default 0.05."`
	AllP99Ms      *float64                      `json:"allP99Ms,omitempty" minimum:"1" maximum:"3600000" doc:"Milliseconds: all is kept when the slowest hundredth takes longer; default 800."`
	Critical      []string                      `json:"critical,omitempty" nullable:"false" maxItems:"256" doc:"Operations of which criticalFloor is kept at least: names of spans, for HTTP METHOD /path, with {name} for one segment of any value."`
	CriticalFloor *float64                      `json:"criticalFloor,omitempty" minimum:"0.0001" maximum:"1" doc:"Share of critical operations that is kept at least; default 0.2."`
	Operations    map[string]float64            `json:"operations,omitempty" doc:"Operations with a fixed share of their own, from 0 to 1, whatever the traffic is."`
	Weights       map[string]map[string]float64 `json:"weights,omitempty" doc:"What the share is multiplied by, from 0 to 10000, by key and value of an attribute of the first span, or of a member of the baggage."`
	WindowMs      *float64                      `json:"windowMs,omitempty" minimum:"100" maximum:"60000" doc:"Milliseconds: how often the share is set anew; default 1000."`
	Smoothing     *float64                      `json:"smoothing,omitempty" minimum:"0.01" maximum:"1" doc:"How much of the way to what the last window asks for the share goes; default 0.3."`
}

// Knob is a field of a policy that is a number.
type Knob struct {
	Name                 string // as in JSON
	Least, Most, Default float64
	at                   func(*Policy) **float64
}

// In is the field in a policy.
func (k *Knob) In(p *Policy) **float64 { return k.at(p) }

const (
	// leastShare and mostShare bound all shares: below one in ten thousand
	// nothing is left to look at.
	leastShare, mostShare = 0.0001, 1
	// mostWeight multiplies the least share to all.
	mostWeight = 10_000
)

// Knobs are all numbers of a policy, in the order of its fields.
var Knobs = []Knob{
	{"base", leastShare, mostShare, 0.01, func(p *Policy) **float64 { return &p.Base }},
	{"few", 0, 1e6, 5, func(p *Policy) **float64 { return &p.Few }},
	{"least", leastShare, mostShare, leastShare, func(p *Policy) **float64 { return &p.Least }},
	{"most", leastShare, mostShare, mostShare, func(p *Policy) **float64 { return &p.Most }},
	{"busy", 1, 1e9, 5000, func(p *Policy) **float64 { return &p.Busy }},
	{"busyFloor", leastShare, 1, 0.1, func(p *Policy) **float64 { return &p.BusyFloor }},
	{"errors", 0.0001, 1, 0.005, func(p *Policy) **float64 { return &p.Errors }},
	{"errorBoost", 1, 10_000, 10, func(p *Policy) **float64 { return &p.ErrorBoost }},
	{"allErrors", 0.0001, 1, 0.05, func(p *Policy) **float64 { return &p.AllErrors }},
	{"allP99Ms", 1, 3_600_000, 800, func(p *Policy) **float64 { return &p.AllP99Ms }},
	{"criticalFloor", leastShare, mostShare, 0.2, func(p *Policy) **float64 { return &p.CriticalFloor }},
	{"windowMs", 100, 60_000, 1000, func(p *Policy) **float64 { return &p.WindowMs }},
	{"smoothing", 0.01, 1, 0.3, func(p *Policy) **float64 { return &p.Smoothing }},
}

// Limits of a policy. An SDK looks names up for every trace that begins, and
// Jaeger's clients take 256 operations.
const (
	MaxNames  = 256 // operations, critical and others together
	MaxKeys   = 16  // of weights
	MaxValues = 256 // of a key
	maxName   = 256 // bytes of a name, key or value
	// MaxBody is how long the JSON of a policy may be: some names of full
	// length, or all of usual length.
	MaxBody = 64 << 10
)

// FieldError says why a field cannot be as it is.
type FieldError struct {
	Field string // as in JSON; empty for the whole
	Value string // what was given, if it is short enough to tell
	Msg   string // with what is allowed
}

func (e FieldError) Error() string {
	if e.Field == "" {
		return e.Msg
	}
	return e.Field + ": " + e.Msg
}

// Invalid is what is wrong with a policy: at least one FieldError.
type Invalid []FieldError

func (i Invalid) Error() string {
	var lines []string
	for _, e := range i {
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "; ")
}

// Decode reads the JSON of a policy and validates it. The error is Invalid.
func Decode(text []byte) (Policy, error) {
	var p Policy
	if len(text) > MaxBody {
		return p, Invalid{{Msg: fmt.Sprintf("the policy has %d bytes, more than %d", len(text), MaxBody)}}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(&p)
	if err == nil {
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return Policy{}, Invalid{{Msg: "something follows the policy: want one JSON object"}}
		}
		if err := p.Validate(); err != nil {
			return Policy{}, err
		}
		return p, nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return Policy{}, Invalid{{Field: wrong.Field, Msg: "is a " + wrong.Value + ": want " + wants(wrong.Field)}}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return Policy{}, Invalid{{Field: strings.Trim(name, `"`), Msg: "no such field; there are " + strings.Join(fields(), ", ")}}
	}
	return Policy{}, Invalid{{Msg: "not a policy: " + strings.TrimPrefix(err.Error(), "json: ") + "; want a JSON object"}}
}

// fields are the names of all fields.
func fields() (names []string) {
	for _, k := range Knobs {
		names = append(names, k.Name)
	}
	return append(names, "critical", "operations", "weights")
}

func wants(field string) string {
	field, _, _ = strings.Cut(field, ".")
	for _, k := range Knobs {
		if k.Name == field {
			return k.wants()
		}
	}
	switch field {
	case "critical":
		return "a list of names"
	case "weights":
		return "an object of objects of numbers"
	}
	return "an object of numbers"
}

func (k *Knob) wants() string {
	return fmt.Sprintf("a number from %s to %s", number(k.Least), number(k.Most))
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Validate names every field that cannot be as it is; the error is Invalid.
func (p *Policy) Validate() error {
	var bad Invalid
	for _, k := range Knobs {
		if v := *k.at(p); v != nil && !(*v >= k.Least && *v <= k.Most) {
			bad = append(bad, FieldError{k.Name, number(*v), "want " + k.wants()})
		}
	}
	if len(bad) == 0 {
		f := p.Filled()
		if *f.Least > *f.Most {
			bad = append(bad, FieldError{"least", number(*f.Least), fmt.Sprintf("want at most %s, which is most", number(*f.Most))})
		}
		if *f.Errors > *f.AllErrors {
			bad = append(bad, FieldError{"errors", number(*f.Errors), fmt.Sprintf("want at most %s, which is allErrors", number(*f.AllErrors))})
		}
	}
	bad = append(bad, p.validateNames()...)
	if len(bad) > 0 {
		return bad
	}
	return nil
}

func (p *Policy) validateNames() (bad Invalid) {
	if n := len(p.Critical) + len(p.Operations); n > MaxNames {
		bad = append(bad, FieldError{"operations", strconv.Itoa(n), fmt.Sprintf("want %d names at most, those of critical included", MaxNames)})
	}
	for i, name := range p.Critical {
		at := fmt.Sprintf("critical[%d]", i)
		if msg := badName(name); msg != "" {
			bad = append(bad, FieldError{at, "", msg})
		} else if _, twice := p.Operations[name]; twice {
			bad = append(bad, FieldError{at, name, "has a share of its own in operations: want it in one of both"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Operations)) {
		at := field("operations", name)
		if msg := badName(name); msg != "" {
			bad = append(bad, FieldError{at, "", msg})
		}
		if v := p.Operations[name]; !(v >= 0 && v <= 1) {
			bad = append(bad, FieldError{at, number(v), "want a number from 0 to 1"})
		}
	}
	if len(p.Weights) > MaxKeys {
		bad = append(bad, FieldError{"weights", strconv.Itoa(len(p.Weights)), fmt.Sprintf("want %d keys at most", MaxKeys)})
	}
	for _, key := range slices.Sorted(maps.Keys(p.Weights)) {
		at := field("weights", key)
		if msg := badName(key); msg != "" {
			bad = append(bad, FieldError{at, "", msg})
		}
		if n := len(p.Weights[key]); n > MaxValues {
			bad = append(bad, FieldError{at, strconv.Itoa(n), fmt.Sprintf("want %d values at most", MaxValues)})
		}
		for _, value := range slices.Sorted(maps.Keys(p.Weights[key])) {
			if msg := badName(value); msg != "" {
				bad = append(bad, FieldError{field(at, value), "", msg})
			}
			if v := p.Weights[key][value]; !(v >= 0 && v <= mostWeight) {
				bad = append(bad, FieldError{field(at, value), number(v), fmt.Sprintf("want a number from 0 to %d", mostWeight)})
			}
		}
	}
	return bad
}

// field is the place of a member; names are cut to what can be read.
func field(in, name string) string {
	const shown = 40
	if len(name) > shown {
		name = strings.ToValidUTF8(name[:shown], "") + "…"
	}
	return fmt.Sprintf("%s[%q]", in, name)
}

func badName(name string) string {
	switch {
	case name == "":
		return "is empty: want a name"
	case len(name) > maxName:
		return fmt.Sprintf("has %d bytes: want %d at most", len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "has control characters: want a name that can be read"
	}
	return ""
}

// Filled is the policy with the defaults of numbers that are absent.
func (p *Policy) Filled() Policy {
	filled := *p
	for _, k := range Knobs {
		if at := k.at(&filled); *at == nil {
			*at = new(k.Default)
		}
	}
	return filled
}
