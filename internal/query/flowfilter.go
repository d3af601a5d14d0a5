package query

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/guanlan-io/guanlan/internal/store"
)

// values are what a flow has for a field of a filter; nil for a field that it
// does not have or that was not measured. A condition holds when it holds for one of them, != and !~
// when it holds for all.
//
// service.name and address are those of either side; source and target are
// what the table shows; figures are as in the answer, durations in filters
// take units.
func (f *flow) values(field string) []string {
	number := func(x float64) []string { return []string{strconv.FormatFloat(x, 'f', -1, 64)} }
	measured := func(x float64) []string {
		if x < 0 {
			return nil
		}
		return number(x)
	}
	both := func(of func(Endpoint) string) (out []string) {
		for _, p := range []Endpoint{f.Source, f.Target} {
			if v := of(p); v != "" {
				out = append(out, v)
			}
		}
		return out
	}
	switch field {
	case "source":
		return []string{f.Source.Name()}
	case "target":
		return []string{f.Target.Name()}
	case "service.name":
		return both(func(p Endpoint) string { return p.Service })
	case "address", "network.peer.address":
		return both(func(p Endpoint) string { return p.Address })
	case "port", "network.peer.port":
		return both(func(p Endpoint) string { return p.Port })
	case "host.name":
		return []string{f.Host}
	case "role":
		return []string{f.Role}
	case "health":
		return []string{string(f.Health)}
	case "signal":
		names := make([]string, len(f.Signals))
		for i, s := range f.Signals {
			names[i] = s.Name
		}
		return names
	case "error.type":
		kinds := make([]string, len(f.FailureKinds))
		for i, k := range f.FailureKinds {
			kinds[i] = k.Value
		}
		return kinds
	case "bytes":
		return number(f.BytesSent + f.BytesReceived)
	case "retransmits":
		return number(f.Retransmits)
	case "retransmit_ratio":
		return number(max(0, f.Ratio))
	case "failures":
		return number(f.Failures)
	case "resets":
		return number(f.Resets)
	case "connections":
		return number(f.Connections)
	case "rtt_p50":
		return measured(f.RTTP50)
	case "rtt_p99":
		return measured(f.RTTP99)
	case "connect_p99":
		return measured(f.ConnectP99)
	}
	return nil
}

// meets reports whether all conditions hold.
func (f *flow) meets(where []store.Cond) bool {
	return !slices.ContainsFunc(where, func(c store.Cond) bool { return !f.holds(c) })
}

func (f *flow) holds(c store.Cond) bool {
	if c.Op == store.OpText {
		text := strings.ToLower(f.Source.Name() + " " + f.Target.Name() + " " + f.Source.Address + " " + f.Target.Address)
		return strings.Contains(text, strings.ToLower(c.Value))
	}
	values := f.values(c.Field)
	switch c.Op {
	case store.OpExists:
		return len(values) > 0
	case store.OpEq:
		return slices.Contains(values, c.Value) || c.Value == "" && len(values) == 0
	case store.OpNe:
		return !slices.Contains(values, c.Value) && (c.Value != "" || len(values) > 0)
	case store.OpRe, store.OpNre:
		re, err := regexp.Compile(c.Value)
		if err != nil {
			return false // ParseFilter has refused it before
		}
		return slices.ContainsFunc(values, re.MatchString) == (c.Op == store.OpRe)
	}
	limit, err := strconv.ParseFloat(c.Value, 64)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(values, func(s string) bool {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return false
		}
		switch c.Op {
		case store.OpLt:
			return v < limit
		case store.OpLe:
			return v <= limit
		case store.OpGt:
			return v > limit
		}
		return v >= limit
	})
}
