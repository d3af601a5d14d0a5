package stocktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	stock "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

// sameLogs runs a program on both and compares.
func sameLogs(t *testing.T, limits core.Limits, program func(log.LoggerProvider)) {
	t.Helper()
	want, got := runLogs(t, limits, program)
	if diff := gocmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("the stock SDK (-) and ours (+) send different things:\n%s", diff)
	}
}

// runLogs runs a program on both and returns what was received.
func runLogs(t *testing.T, limits core.Limits, program func(log.LoggerProvider)) (want, got *logspb.LogsData) {
	t.Helper()
	attr := attribute.String("service.name", "shop")
	stocks := newReceiver(t)
	exporter, err := otlploghttp.New(t.Context(), otlploghttp.WithEndpointURL(stocks.URL+"/v1/logs"))
	if err != nil {
		t.Fatal(err)
	}
	p := stock.NewLoggerProvider(stock.WithProcessor(stock.NewBatchProcessor(exporter)), stock.WithResource(resource.NewSchemaless(attr)),
		stock.WithAttributeCountLimit(limits.Attributes), stock.WithAttributeValueLengthLimit(limits.ValueLength))
	program(p)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	ours := newReceiver(t)
	sender, err := core.NewSender(core.SenderOptions{URL: ours.URL + "/v1/logs"})
	if err != nil {
		t.Fatal(err)
	}
	pipe := core.NewPipe(core.EncodeResource([]core.Attr{core.String(string(attr.Key), attr.Value.AsString())}, ""),
		core.PipeOptions{Send: sender.Send, Failed: func(n int, err error) { t.Errorf("%d records: %v", n, err) }})
	program(sdk.NewLoggerProvider(pipe, limits))
	if err := pipe.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, got = normalLogs(stocks.logs), normalLogs(ours.logs)
	if len(want.ResourceLogs) == 0 {
		t.Fatal("the stock SDK sent nothing: the test compares nothing")
	}
	return want, got
}

// normalLogs puts what was received in an order, as one request, and takes out
// times that the program did not set.
func normalLogs(received []*logspb.ResourceLogs) *logspb.LogsData {
	data := &logspb.LogsData{}
	for _, r := range received {
		for _, s := range r.ScopeLogs {
			slices.SortFunc(s.Scope.Attributes, byKey)
			for _, l := range s.LogRecords {
				l.ObservedTimeUnixNano = given(l.ObservedTimeUnixNano)
				slices.SortFunc(l.Attributes, byKey)
			}
		}
		if len(data.ResourceLogs) == 0 {
			data.ResourceLogs = append(data.ResourceLogs, r)
			continue
		}
		all := data.ResourceLogs[0]
		for _, s := range r.ScopeLogs {
			if i := slices.IndexFunc(all.ScopeLogs, func(other *logspb.ScopeLogs) bool { return other.Scope.String() == s.Scope.String() }); i >= 0 {
				all.ScopeLogs[i].LogRecords = append(all.ScopeLogs[i].LogRecords, s.LogRecords...)
				continue
			}
			all.ScopeLogs = append(all.ScopeLogs, s)
		}
	}
	for _, r := range data.ResourceLogs {
		slices.SortFunc(r.ScopeLogs, byText)
	}
	return data
}

// failure is an error with a type of its own.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

// named says itself what it is.
type named struct{ error }

func (named) ErrorType() string { return "quota" }

func TestLogsAreTheStockSDKs(t *testing.T) {
	sameLogs(t, core.DefaultLimits, func(p log.LoggerProvider) {
		l := p.Logger("shop", log.WithInstrumentationVersion("1.2"), log.WithSchemaURL("https://opentelemetry.io/schemas/1.37.0"), log.WithInstrumentationAttributes(attribute.Bool("yes", true)))
		bodies := []attribute.Value{{}, attribute.StringValue(""), attribute.StringValue("text"), attribute.IntValue(-7), attribute.Float64Value(1.5), attribute.BoolValue(true), attribute.ByteSliceValue([]byte{0, 255}),
			attribute.StringSliceValue([]string{"a", ""}), attribute.Int64SliceValue([]int64{1, -1}), attribute.BoolSliceValue([]bool{true, false}), attribute.Float64SliceValue([]float64{0, -2.5}),
			attribute.SliceValue(attribute.IntValue(1), attribute.SliceValue(), attribute.Value{}),
			attribute.MapValue(attribute.Int("z", 1), attribute.Map("inner", attribute.String("k", "v"), attribute.Bool("k", true)), attribute.Int("z", 2))}
		for i, body := range bodies {
			var r log.Record
			r.SetBody(body)
			r.SetSeverity(log.Severity(i * 2))
			r.AddAttributes(attribute.KeyValue{Key: "value", Value: body}, attribute.Int("", 1))
			l.Emit(keptSpan(), r)
		}
		var full log.Record
		full.SetTimestamp(noon)
		full.SetObservedTimestamp(noon.Add(time.Second))
		full.SetSeverity(log.SeverityWarn2)
		full.SetSeverityText("warning")
		full.SetEventName("order.placed")
		full.SetBody(attribute.StringValue("placed"))
		full.AddAttributes(attribute.Int("a", 1), attribute.Int("b", 2), attribute.Int("a", 3))
		l.Emit(context.Background(), full)
		for _, err := range []error{errors.New("plain"), &failure{"own"}, fmt.Errorf("while: %w", &failure{"wrapped"}), named{errors.New("no")}, errors.Join(errors.New("a"), errors.New("b"))} {
			var r log.Record
			r.SetErr(err)
			r.SetSeverity(99) // there is none
			l.Emit(context.Background(), r)
			r.AddAttributes(attribute.String("exception.message", "the program's own"))
			l.Emit(context.Background(), r)
		}
		var bare log.Record
		p.Logger("bare").Emit(context.Background(), bare)
	})
}

func TestDepthIsTheStockSDKs(t *testing.T) {
	want, got := runLogs(t, core.DefaultLimits, func(p log.LoggerProvider) {
		for _, levels := range []int{63, 64, 70} {
			list, object := attribute.StringValue("bottom"), attribute.ByteSliceValue([]byte("bottom"))
			for range levels {
				list, object = attribute.SliceValue(list), attribute.MapValue(attribute.KeyValue{Key: "k", Value: object})
			}
			var r log.Record
			r.AddAttributes(attribute.KeyValue{Key: "list", Value: list}, attribute.KeyValue{Key: "map", Value: object})
			p.Logger("l").Emit(context.Background(), r)
		}
	})
	if !proto.Equal(want, got) { // a difference that deep takes for ever to describe
		t.Errorf("the stock SDK sends %d bytes, ours %d", proto.Size(want), proto.Size(got))
	}
}

func TestRandomLogsAreTheStockSDKs(t *testing.T) {
	seed := rand.Uint64()
	for n := range uint64(20) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			limits := core.DefaultLimits
			if n%2 == 1 {
				limits.Attributes, limits.ValueLength = int(n%5), int(n%7)
			}
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, %d, limits %+v", seed, n, limits)
				}
			}()
			sameLogs(t, limits, func(p log.LoggerProvider) { randomLogs(rand.New(rand.NewPCG(seed, n)), p) })
		})
	}
}

func randomLogs(rng *rand.Rand, p log.LoggerProvider) {
	var value func(depth int) attribute.Value
	value = func(depth int) attribute.Value {
		kind := rng.IntN(11)
		if depth == 0 {
			kind %= 8
		}
		switch kind {
		case 0:
			return attribute.Value{}
		case 1:
			return attribute.BoolValue(rng.IntN(2) == 0)
		case 2:
			return attribute.IntValue(rng.IntN(1000) - 500)
		case 3:
			return attribute.Float64Value(rng.NormFloat64())
		case 4:
			return attribute.ByteSliceValue([]byte(strings.Repeat("b", rng.IntN(9))))
		case 5:
			return attribute.StringSliceValue([]string{strings.Repeat("é", rng.IntN(9)), "x"})
		case 8:
			list := make([]attribute.Value, rng.IntN(3))
			for i := range list {
				list[i] = value(depth - 1)
			}
			return attribute.SliceValue(list...)
		case 9, 10:
			list := make([]attribute.KeyValue, rng.IntN(4))
			for i := range list {
				list[i] = attribute.KeyValue{Key: attribute.Key(fmt.Sprint("k", rng.IntN(3))), Value: value(depth - 1)}
			}
			return attribute.MapValue(list...)
		default:
			return attribute.StringValue(strings.Repeat("ä", rng.IntN(9)) + strings.Repeat("s", rng.IntN(200)))
		}
	}
	for range 1 + rng.IntN(50) {
		l := p.Logger(fmt.Sprint("logger", rng.IntN(3)))
		var r log.Record
		r.SetBody(value(3))
		r.SetSeverity(log.Severity(rng.IntN(25)))
		for range rng.IntN(12) {
			r.AddAttributes(attribute.KeyValue{Key: attribute.Key(fmt.Sprint("a", rng.IntN(20))), Value: value(2)})
		}
		if rng.IntN(4) == 0 {
			r.SetErr(&failure{"no"})
		}
		if rng.IntN(2) == 0 {
			r.SetTimestamp(noon)
		}
		ctx := context.Background()
		if rng.IntN(2) == 0 {
			ctx = keptSpan()
		}
		l.Emit(ctx, r)
	}
}
