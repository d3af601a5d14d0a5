package red

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/guanlan-io/guanlan/internal/semconv"
)

// DefaultPeerAttributes name what a client span called, when that sends no
// spans itself; the first that is there counts.
func DefaultPeerAttributes() []string {
	return []string{
		semconv.ServicePeerName, semconv.PeerService, semconv.ServerAddress, semconv.NetPeerName,
		semconv.NetworkPeerAddress, semconv.NetSockPeerAddr,
	}
}

// maxPeerAttributes bounds the attributes that are looked for in every client
// span.
const maxPeerAttributes = 16

// peers finds out what is at the other side of a span from its attributes, in
// one pass over them.
type peers struct {
	keys    []string
	lengths uint64 // bit n: a key has n bytes; most attributes are none of them
	peers   int    // how many of keys, from the first, are peer attributes
}

// Keys that peers looks for besides the peer attributes.
const (
	keyDBSystemName = iota
	keyDBSystem
	keyDBNamespace
	keyDBName
	keyMessagingSystem
	extraKeys
)

func newPeers(attributes []string) peers {
	p := peers{keys: append(attributes[:len(attributes):len(attributes)],
		semconv.DBSystemName, semconv.DBSystem, semconv.DBNamespace, semconv.DBName, semconv.MessagingSystem),
		peers: len(attributes)}
	for _, k := range p.keys {
		p.lengths |= 1 << min(len(k), 63)
	}
	return p
}

// peer is what a span tells of the other side.
type peer struct {
	database  string // node of a database call
	messaging string // product, for example kafka
	other     string
}

// of reads the attributes of a client or consumer span. The strings belong to
// pdata.
func (p *peers) of(attributes pcommon.Map) peer {
	var found [maxPeerAttributes + extraKeys]string
	for key, v := range attributes.All() {
		if p.lengths>>min(len(key), 63)&1 == 0 {
			continue
		}
		for i, k := range p.keys {
			if k == key && v.Type() == pcommon.ValueTypeStr {
				found[i] = v.Str() // and on: a peer attribute may be one of the others too
			}
		}
	}
	var out peer
	for _, v := range found[:p.peers] {
		if v != "" {
			out.other = label(v)
			break
		}
	}
	extra := found[p.peers:]
	out.messaging = label(extra[keyMessagingSystem])
	if system := first(extra[keyDBSystemName], extra[keyDBSystem]); system != "" {
		out.database = label(first(databaseName(extra[keyDBNamespace]), databaseName(extra[keyDBName]), elsewhere(out.other), system))
	}
	return out
}

// databaseName returns a namespace that can stand for a database. Redis'
// cannot: it is a number, most often 0.
func databaseName(namespace string) string {
	if strings.Trim(namespace, "0123456789") == "" {
		return ""
	}
	return namespace
}

// elsewhere returns an address that tells machines apart: that of the own one is
// the same for whatever runs there.
func elsewhere(address string) string {
	if strings.HasPrefix(address, "127.") || address == "::1" || address == "localhost" {
		return ""
	}
	return address
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
