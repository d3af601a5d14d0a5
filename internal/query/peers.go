package query

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/guanlan-io/guanlan/internal/store"
)

const (
	// maxNamed bounds the addresses that are looked for in spans: each costs a
	// few selective reads. Those with the most traffic come first.
	maxNamed = 24
	// maxAddresses bounds the addresses listed to find them in.
	maxAddresses = 1000
)

// naming is where spans tell who is at an address, the surest first.
var naming = []struct {
	where []store.Cond // beside the address
	at    []string     // fields with the address
	names []string     // fields with the name
	by    string
}{
	// A service's own resource, or a server span's own end.
	{nil, []string{"resource.k8s.pod.ip", "resource.host.ip"}, []string{"service.name"}, "resource"},
	{[]store.Cond{{Field: "kind", Op: store.OpEq, Value: "server"}}, []string{"span.network.local.address"}, []string{"service.name"}, "resource"},
	// Who calls the address says whom it calls.
	{[]store.Cond{{Field: "kind", Op: store.OpRe, Value: "^(client|producer)$"}},
		[]string{"span.network.peer.address", "span.server.address", "span.net.sock.peer.addr"},
		[]string{"span.service.peer.name", "span.peer.service", "span.server.address", "span.net.peer.name"}, "spans"},
}

// hostFields hold names of machines, which are no better than what the cluster or
// a name server called the address.
var hostFields = []string{"span.server.address", "span.net.peer.name"}

// settled reports whether the other end is a process that the kernel knows.
func (k flowKey) settled() bool { return k.peer != "" && k.peerNamespace == "" }

// namePeers finds services for the addresses that the kernel could not name, and
// better names for those that only the cluster or a name server did.
func (e *engine) namePeers(ctx context.Context, w Window, list []*flow) error {
	traffic, unnamed := map[string]float64{}, map[string]bool{}
	for _, f := range list {
		if !f.key.settled() && f.key.address != "" && f.key.address != "other" {
			traffic[f.key.address] += f.sent + f.got
			if f.key.peer == "" && f.key.server == "" {
				unnamed[f.key.address] = true
			}
		}
	}
	if len(traffic) == 0 {
		return nil
	}
	type name struct {
		Endpoint
		host bool // of hostFields
	}
	names := map[string]name{}
	sel := store.Select{Tenant: TenantOf(ctx), Range: store.Range{Start: w.Start, End: w.End}}
	for _, n := range naming {
		for _, field := range n.at {
			// One read tells which addresses are there at all.
			counts, err := e.traces.SpanValues(ctx, and(sel, n.where...), field, maxAddresses)
			if err != nil {
				return fmt.Errorf("look for addresses in spans: %w", err)
			}
			var wanted []namedAddress
			for _, c := range counts {
				for _, a := range addressesIn(c.Value) {
					if _, known := names[a]; !known && traffic[a] > 0 {
						wanted = append(wanted, namedAddress{a, c.Value})
					}
				}
			}
			slices.SortFunc(wanted, func(a, b namedAddress) int {
				if unnamed[a.address] != unnamed[b.address] {
					if unnamed[a.address] {
						return -1
					}
					return 1
				}
				return cmp.Or(cmp.Compare(traffic[b.address], traffic[a.address]), strings.Compare(a.address, b.address))
			})
			wanted = wanted[:min(len(wanted), maxNamed)]
			found, from := make([]string, len(wanted)), make([]string, len(wanted))
			parts := make([]func(context.Context) error, len(wanted))
			for i, a := range wanted {
				parts[i] = func(ctx context.Context) (err error) {
					found[i], from[i], err = e.nameOf(ctx, and(sel, append(slices.Clone(n.where), eq(field, a.value))...), n.names)
					return err
				}
			}
			if err := together(ctx, parts...); err != nil {
				return fmt.Errorf("name addresses by spans: %w", err)
			}
			for i, a := range wanted {
				if found[i] != "" {
					names[a.address] = name{Endpoint{Service: found[i], NamedBy: n.by}, slices.Contains(hostFields, from[i])}
				}
			}
		}
	}
	for _, f := range list {
		name, ok := names[f.key.address]
		if !ok || f.key.settled() || name.host && (f.key.peer != "" || f.key.server != "") {
			continue
		}
		other := &f.Target
		if f.key.role == "server" {
			other = &f.Source
		}
		other.Service, other.NamedBy = name.Service, name.NamedBy
	}
	return nil
}

// namedAddress is an address and the value of the field that holds it.
type namedAddress struct{ address, value string }

// addressesIn reads one address, or the JSON list of them that host.ip is.
func addressesIn(value string) []string {
	var out []string
	for _, s := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(`[]", `, r) }) {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a.Unmap().String())
		}
	}
	return out
}

// nameOf is the value of the first field that has one and only one: several
// services behind an address are none.
func (e *engine) nameOf(ctx context.Context, sel store.Select, fields []string) (name, field string, err error) {
	for _, field := range fields {
		counts, err := e.traces.SpanValues(ctx, sel, field, 2)
		if err != nil {
			return "", "", err
		}
		counts = slices.DeleteFunc(counts, func(c store.Count) bool { return c.Value == "" || isAddress(c.Value) })
		if len(counts) == 1 {
			return counts[0].Value, field, nil
		}
	}
	return "", "", nil
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
