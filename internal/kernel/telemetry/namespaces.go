//go:build linux

package telemetry

import (
	"cmp"
	"net/netip"
	"slices"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

// namespaces tells sockets by state, those that were told before as well, and
// what the namespaces' own counters rose by. It returns what was told.
func (b *builder) namespaces(all []tcp.Namespace, before map[uint32]uint32) map[uint32]uint32 {
	told := make(map[uint32]uint32, len(all))
	sockets := b.metric(semconv.MetricKernelTCPSockets, "{socket}", gauge)
	overflows := b.metric(semconv.MetricKernelTCPListenOverflows, "{connection}", deltaSum)
	drops := b.metric(semconv.MetricKernelTCPListenDrops, "{connection}", deltaSum)
	for i := range all {
		ns := &all[i]
		told[ns.ID] = 0
		for s, n := range ns.States {
			if n == 0 && before[ns.ID]&(1<<s) == 0 {
				continue
			}
			if n > 0 {
				told[ns.ID] |= 1 << s
			}
			p := sockets().Gauge().DataPoints().AppendEmpty()
			b.point(p, false)
			p.SetIntValue(int64(n))
			p.Attributes().PutStr(semconv.NetworkConnectionState, tcp.State(s).String())
			p.Attributes().PutInt(semconv.KernelNetns, int64(ns.ID))
		}
		_, known := before[ns.ID]
		for _, c := range []struct {
			m func() pmetric.Metric
			n uint64
		}{{overflows, ns.ListenOverflows}, {drops, ns.ListenDrops}} {
			tell := func(n uint64, zero bool) {
				p := c.m().Sum().DataPoints().AppendEmpty()
				b.point(p, zero)
				p.SetIntValue(int64(n))
				p.Attributes().PutInt(semconv.KernelNetns, int64(ns.ID))
			}
			if !known {
				tell(0, true)
			}
			tell(c.n, false)
		}
	}
	return told
}

// maxListeners bounds those that are told, the fullest first.
const maxListeners = 500

type listenerKey struct {
	who  subject
	addr netip.AddrPort
	ns   uint32
}

func (k listenerKey) compare(o listenerKey) int {
	return cmp.Or(k.who.compare(o.who), k.addr.Compare(o.addr), cmp.Compare(k.ns, o.ns))
}

// listeners tells accept queues. Sockets that share a port (SO_REUSEPORT) count
// together.
func (b *builder) listeners(all []tcp.Namespace) {
	type queue struct{ waiting, limit uint64 }
	byKey := map[listenerKey]*queue{}
	for _, ns := range all {
		for _, l := range ns.Listeners {
			k := listenerKey{subjectOf(l.Process, "", ""), l.Addr, ns.ID}
			if byKey[k] == nil {
				byKey[k] = &queue{}
			}
			byKey[k].waiting += uint64(l.Waiting)
			byKey[k].limit += uint64(l.Max)
		}
	}
	keys := make([]listenerKey, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y listenerKey) int {
		return cmp.Or(cmp.Compare(byKey[y].waiting, byKey[x].waiting), x.compare(y))
	})
	keys = keys[:min(len(keys), maxListeners)]
	slices.SortFunc(keys, listenerKey.compare)
	for who, keys := range byWho(keys, func(k listenerKey) subject { return k.who }) {
		b.scope(&who)
		waiting := b.metric(semconv.MetricKernelTCPListenQueue, "{connection}", gauge)
		limit := b.metric(semconv.MetricKernelTCPListenLimit, "{connection}", gauge)
		for _, k := range keys {
			for _, v := range []struct {
				m func() pmetric.Metric
				n uint64
			}{{waiting, byKey[k].waiting}, {limit, byKey[k].limit}} {
				p := v.m().Gauge().DataPoints().AppendEmpty()
				b.point(p, false)
				p.SetIntValue(int64(v.n))
				p.Attributes().PutStr(semconv.NetworkLocalAddress, k.addr.Addr().String())
				p.Attributes().PutInt(semconv.NetworkLocalPort, int64(k.addr.Port()))
				p.Attributes().PutInt(semconv.KernelNetns, int64(k.ns))
			}
		}
	}
}
