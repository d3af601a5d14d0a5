package event

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spanSource makes spans like those of a fleet of 30 services: 12 attributes,
// 10 spans a trace, about 600 bytes a span as OTLP. It is deterministic.
type spanSource struct {
	r          *rand.Rand
	start, end time.Time
	total, n   int
	services   []sourceService
}

type sourceService struct {
	name string
	ops  []string
	pods []func(pcommon.Map)
}

func newSpanSource(total int, end time.Time, window time.Duration) *spanSource {
	s := &spanSource{r: rand.New(rand.NewPCG(42, 7)), start: end.Add(-window), end: end, total: total}
	verbs := []string{"GET", "POST", "PUT", "DELETE"}
	nouns := []string{"items", "orders", "users", "baskets", "prices", "quotes", "events", "batches", "images", "refunds"}
	for i, name := range []string{"frontend", "checkout", "cart", "payment", "shipping", "catalog", "recommendation", "ad", "email", "currency", "auth", "search", "inventory", "pricing", "ledger", "fraud", "gateway", "profile", "notification", "scheduler", "reports", "billing", "geo", "media", "quote", "loyalty", "tax", "returns", "warehouse", "audit"} {
		v := sourceService{name: name + "service"}
		for k := range 20 {
			v.ops = append(v.ops, fmt.Sprintf("%s /api/v%d/%s/%s", verbs[k%4], 1+k/10, name, nouns[k%10]))
		}
		for p := range 6 {
			pod := fmt.Sprintf("%s-%08x-%05x", name, s.r.Uint32(), s.r.IntN(1<<20))
			node := fmt.Sprintf("ip-10-0-%d-%d.ec2.internal", p, s.r.IntN(40))
			v.pods = append(v.pods, func(m pcommon.Map) {
				m.PutStr("service.name", v.name)
				m.PutStr("service.version", fmt.Sprintf("1.%d.%d", i, p%2))
				m.PutStr("deployment.environment", "production")
				m.PutStr("k8s.pod.name", pod)
				m.PutStr("k8s.node.name", node)
				m.PutStr("cloud.region", []string{"eu-west-1", "us-east-1", "us-west-2"}[p%3])
				m.PutStr("telemetry.sdk.language", "go")
			})
		}
		s.services = append(s.services, v)
	}
	return s
}

const spansPerTrace = 10

// batch returns about n spans, false at the end. Spans of one resource stand
// together, as an agent's batch has them.
func (s *spanSource) batch(n int) (ptrace.Traces, bool) {
	td := ptrace.NewTraces()
	if s.n >= s.total {
		return td, false
	}
	r := s.r
	type at struct{ svc, pod int }
	scopes := map[at]ptrace.SpanSlice{}
	for made := 0; made < n && s.n < s.total; {
		var tid pcommon.TraceID
		putRandom(r, tid[:])
		begin := s.start.Add(time.Duration(float64(s.end.Sub(s.start))*float64(s.n)/float64(s.total)) + time.Duration(r.Int64N(2e9)))
		user := "user-" + strconv.Itoa(100000+int(math.Abs(r.NormFloat64())*15000)%100000)
		failing := r.IntN(40) == 0
		var ids []pcommon.SpanID
		for k := range spansPerTrace {
			svc := 0
			if k > 0 {
				svc = r.IntN(len(s.services))
			}
			key := at{svc, r.IntN(6)}
			spans, ok := scopes[key]
			if !ok {
				rs := td.ResourceSpans().AppendEmpty()
				s.services[svc].pods[key.pod](rs.Resource().Attributes())
				ss := rs.ScopeSpans().AppendEmpty()
				ss.Scope().SetName("guanlan.io/sdk/nethttp")
				ss.Scope().SetVersion("0.9.2")
				spans = ss.Spans()
				scopes[key] = spans
			}
			sp := spans.AppendEmpty()
			op := s.services[svc].ops[int(math.Abs(r.NormFloat64())*7)%20]
			d := time.Duration(math.Exp(r.NormFloat64()*1.2 + 15.2))
			if k == 0 {
				d *= 6
			}
			var sid pcommon.SpanID
			putRandom(r, sid[:])
			sp.SetTraceID(tid)
			sp.SetSpanID(sid)
			if k > 0 {
				sp.SetParentSpanID(ids[r.IntN(len(ids))])
			}
			ids = append(ids, sid)
			sp.SetName(op)
			sp.SetKind(ptrace.SpanKindServer)
			sp.SetFlags(257)
			t0 := begin.Add(time.Duration(k)*300*time.Microsecond + time.Duration(r.Int64N(1e5)))
			sp.SetStartTimestamp(pcommon.NewTimestampFromTime(t0))
			sp.SetEndTimestamp(pcommon.NewTimestampFromTime(t0.Add(d)))
			code := 200
			isErr := failing && (k == 0 || r.IntN(3) == 0)
			if isErr {
				sp.Status().SetCode(ptrace.StatusCodeError)
				code = 500 + r.IntN(4)
			} else if r.IntN(30) == 0 {
				code = 404
			}
			id := r.IntN(1000000)
			verb, route := op[:len(op)-len(op[indexByte(op, ' '):])], op[indexByte(op, ' ')+1:]
			a := sp.Attributes()
			a.PutStr("http.request.method", verb)
			a.PutStr("http.route", route+"/{id}")
			a.PutStr("url.path", route+"/"+strconv.Itoa(id))
			a.PutInt("http.response.status_code", int64(code))
			a.PutStr("server.address", s.services[svc].name+".prod.svc.cluster.local")
			a.PutStr("client.address", fmt.Sprintf("10.%d.%d.%d", r.IntN(4), r.IntN(256), r.IntN(256)))
			a.PutStr("user.id", user)
			a.PutStr("customer.tier", []string{"free", "pro", "enterprise"}[r.IntN(3)])
			a.PutInt("http.response.body.size", int64(math.Exp(r.NormFloat64()+7)))
			a.PutStr("user_agent.original", sourceAgents[r.IntN(len(sourceAgents))])
			if k%3 == 2 {
				sp.SetKind(ptrace.SpanKindClient)
				a.PutStr("db.system", "postgresql")
				a.PutStr("db.statement", "SELECT * FROM orders WHERE id = "+strconv.Itoa(id)+" AND tenant = $1")
			} else {
				a.PutStr("thread.name", "worker-"+strconv.Itoa(r.IntN(64)))
				a.PutStr("feature.flag", "flag-"+strconv.Itoa(r.IntN(40)))
			}
			if isErr {
				ev := sp.Events().AppendEmpty()
				ev.SetName("exception")
				ev.SetTimestamp(sp.EndTimestamp())
				ev.Attributes().PutStr("exception.type", "io.grpc.StatusRuntimeException")
				ev.Attributes().PutStr("exception.message", "UNAVAILABLE: upstream "+strconv.Itoa(id)+" refused")
			}
			s.n++
			made++
		}
	}
	return td, true
}

func indexByte(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

func putRandom(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

var sourceAgents = []string{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)", "okhttp/4.12.0", "Go-http-client/2.0", "python-requests/2.32", "curl/8.5.0", "grpc-java-netty/1.64.0", "kube-probe/1.30"}
