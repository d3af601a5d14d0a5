package sdk

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unsafe"

	"go.opentelemetry.io/otel/baggage"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// IDOptions say how ids travel beside the trace context.
type IDOptions struct {
	// RequestHeader and BizHeader are the names of the headers that carry the
	// ids, and of the entries of other carriers in lower case. "-" is for none.
	// GUANLAN_REQUEST_ID_HEADER and GUANLAN_BIZ_ID_HEADER; default X-Request-ID
	// and X-Biz-ID.
	RequestHeader, BizHeader string
	// Quiet leaves them out of what servers answer.
	Quiet bool
	// PropagateTo are the hosts that calls tell about the trace, the baggage
	// and the ids: names, or *.example.com for all that end so. Default: all,
	// as OpenTelemetry has it; a list that is empty but not nil is for none.
	// GUANLAN_PROPAGATE_TO, separated by commas.
	PropagateTo []string
}

// What the ids are called on spans and in log records; the business id in
// baggage, too.
const (
	attrRequestID = "request_id"
	attrBizID     = "biz_id"
)

// maxID is how long an id may be, in bytes: the longest in use, of clouds and
// proxies, are half of it, and every log line has to hold it.
const maxID = 128

// isID reports whether s may be an id: 1 to 128 letters and digits of ASCII and
// . _ ~ : / + = @ -. That takes UUIDs, hexadecimal, base64 and order numbers,
// needs no quoting in a header, in baggage or in JSON, and cannot end a line.
func isID(s string) bool {
	if len(s) == 0 || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		if !idBytes[s[i]] {
			return false
		}
	}
	return true
}

var idBytes = func() (set [256]bool) {
	for _, c := range []byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._~:/+=@-") {
		set[c] = true
	}
	return set
}()

// firstID is the first of several that is well-formed; "" if none is.
func firstID(values []string) string {
	for _, v := range values {
		if isID(v) {
			return v
		}
	}
	return ""
}

// idText is room for a trace id as text. The id lives as long as the room, which
// must not be used twice.
type idText [2 * len(core.TraceID{})]byte

func (t *idText) of(id core.TraceID) string {
	return unsafe.String(&id.AppendHex(t[:0])[0], len(t)) // never written again
}

// requestIDKey finds a *string in a context.
var requestIDKey any = new(byte)

// RequestID is the id of the request that ctx belongs to: what came with it,
// else what WithRequestID set, else the trace id, once a server of this SDK has
// begun with the request; "" where there is no request.
func RequestID(ctx context.Context) string {
	if id := requestIDOf(ctx); id != nil {
		return *id
	}
	return ""
}

// requestIDOf is nil where there is none.
func requestIDOf(ctx context.Context) *string {
	return requestIDIn(ours(ctx, requestIDKey))
}

// requestIDIn is that of the context alone.
func requestIDIn(ctx context.Context) *string {
	id, _ := ctx.Value(requestIDKey).(*string)
	return id
}

// WithRequestID sets the id of a request: for transports that the SDK does not
// know. An id that is not well-formed changes nothing: 1 to 128 letters and
// digits of ASCII and . _ ~ : / + = @ - are.
func WithRequestID(ctx context.Context, id string) context.Context {
	if !isID(id) {
		return ctx
	}
	return context.WithValue(ctx, requestIDKey, &id)
}

// BizID is the id of the business case that ctx belongs to, an order's for
// example; "" where there is none. It is the member biz_id of the baggage.
func BizID(ctx context.Context) string {
	if r, ok := ctx.(*remote); ok { // without reading the baggage, if that can be
		if r.biz != "" {
			return r.biz
		}
		if !strings.Contains(r.members, attrBizID) {
			ctx = r.Context
		}
	}
	b := baggage.FromContext(ours(ctx, baggageKey))
	if b.Len() == 0 {
		return ""
	}
	if id := b.Member(attrBizID).Value(); isID(id) {
		return id
	}
	return ""
}

// WithBizID sets the id of the business case, from here on and in all services
// that are called. An id that is not well-formed, as of WithRequestID, changes
// nothing.
func WithBizID(ctx context.Context, id string) context.Context {
	if !isID(id) {
		return ctx
	}
	return baggage.ContextWithBaggage(ctx, withBizMember(baggage.FromContext(ctx), id))
}

func withBizMember(b baggage.Baggage, id string) baggage.Baggage {
	m, err := baggage.NewMemberRaw(attrBizID, id)
	if err != nil {
		return b
	}
	if with, err := b.SetMember(m); err == nil {
		return with
	}
	return b
}

// idHeaders are the names of headers; "" for none.
type idHeaders struct {
	request, biz           string // as net/http keeps them
	requestEntry, bizEntry string // of other carriers
	without                without
}

var defaultIDHeaders = newIDHeaders("X-Request-ID", "X-Biz-ID")

func newIDHeaders(request, biz string) *idHeaders {
	return &idHeaders{request: http.CanonicalHeaderKey(request), biz: http.CanonicalHeaderKey(biz), requestEntry: strings.ToLower(request), bizEntry: strings.ToLower(biz)}
}

// idHeadersOf are those of the SDK that runs.
func idHeadersOf() *idHeaders {
	if s := running.Load(); s != nil && s.idHeaders != nil {
		return s.idHeaders
	}
	return defaultIDHeaders
}

// idHeaders reads the names.
func (e *environment) idHeaders(opts *IDOptions) *idHeaders {
	name := func(given, variable, def string) string {
		from := "option"
		if given == "" {
			given, from = e.text(variable)
		}
		switch {
		case given == "":
			return def
		case given == "-":
			return ""
		case !isToken(given):
			e.errs = append(e.errs, fmt.Errorf("%s names the header %q: want letters, digits and dashes, or - for none; %s is used", from, given, def))
			return def
		}
		return given
	}
	ids := newIDHeaders(name(opts.RequestHeader, "GUANLAN_REQUEST_ID_HEADER", "X-Request-ID"), name(opts.BizHeader, "GUANLAN_BIZ_ID_HEADER", "X-Biz-ID"))
	ids.without = e.propagators()
	return ids
}

// isToken is stricter than HTTP: such a name goes through all transports.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

// hosts are the hosts that calls tell about the trace; nil: all.
type hosts []string

func (e *environment) hosts(opts *IDOptions) (list hosts) {
	given := opts.PropagateTo
	if given == nil {
		given = e.list("GUANLAN_PROPAGATE_TO")
	} else {
		list = hosts{}
	}
	for _, h := range given {
		if h = strings.ToLower(strings.TrimSpace(h)); h != "" {
			list = append(list, strings.TrimSuffix(h, "."))
		}
	}
	return list
}

func (list hosts) has(host string) bool {
	if list == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, h := range list {
		if tail, ok := strings.CutPrefix(h, "*"); h == host || ok && strings.HasSuffix(host, tail) {
			return true
		}
	}
	return false
}

// PropagatesTo reports whether a call to a host, without port, may tell it about
// the trace, the baggage and the ids. See IDOptions.
func (s *SDK) PropagatesTo(host string) bool { return s == nil || s.hosts.has(host) }

// appendIDs appends the ids as attributes of a log record.
func appendIDs(ctx context.Context, dst []core.Attr) []core.Attr {
	if id := requestIDOf(ctx); id != nil {
		dst = append(dst, core.String(attrRequestID, *id))
	}
	if id := BizID(ctx); id != "" {
		dst = append(dst, core.String(attrBizID, id))
	}
	return dst
}
