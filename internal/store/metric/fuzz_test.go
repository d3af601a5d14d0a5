package metric

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/guanlan-io/guanlan/internal/store"
)

// FuzzWrite feeds bytes from outside to the doors: they may be refused, but
// must not bring the store down or leave it unable to take good data.
func FuzzWrite(f *testing.F) {
	good, err := marshalSeed()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range good {
		f.Add(seed.door, seed.body)
	}
	s, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { closeStore(f, s) })
	f.Fuzz(func(t *testing.T, door byte, body []byte) {
		err := feed(s, door, body)
		if err != nil && !errors.Is(err, store.ErrInvalid) {
			t.Errorf("got %v, want ErrInvalid or nothing", err)
		}
		if err := put(s, store.Tenant{Account: 1}, "alive", time.Now(), 1); err != nil && !errors.Is(err, storage.ErrDuplicateSampleForTimestamp) {
			t.Error(err)
		}
	})
}

type seed struct {
	door byte
	body []byte
}

// marshalSeed makes one good request for each door.
func marshalSeed() ([]seed, error) {
	now := time.Now()
	h := &histogram.Histogram{Count: 5, Sum: 18, Schema: 9, PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{2, 1}}
	v1 := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:     []prompb.Label{{Name: "__name__", Value: "a"}},
		Samples:    []prompb.Sample{{Timestamp: now.UnixMilli(), Value: 1}},
		Exemplars:  []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: "t"}}, Timestamp: now.UnixMilli()}},
		Histograms: []prompb.Histogram{prompb.FromIntHistogram(now.UnixMilli()+1, h), prompb.FromFloatHistogram(now.UnixMilli()+2, h.ToFloat(nil))},
	}}}
	st := writev2.NewSymbolTable()
	v2 := &writev2.Request{Timeseries: []writev2.TimeSeries{{
		LabelsRefs: st.SymbolizeLabels(labels.FromStrings("__name__", "b"), nil),
		Samples:    []writev2.Sample{{Timestamp: now.UnixMilli(), Value: 1}},
		Histograms: []writev2.Histogram{writev2.FromIntHistogram(0, now.UnixMilli()+1, h)},
		Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER},
	}}}
	v2.Symbols = st.Symbols()
	b := newBatch(map[string]string{"service.name": "a", "k": "v"})
	b.gauge("g", "By", now, 1)
	b.sum("s", "", delta, now, 1)
	b.exponential("e", "s", delta, now)
	b.exponential("f", "s", cumulative, now)
	var out []seed
	for door, marshal := range []func() ([]byte, error){
		func() ([]byte, error) { return proto.Marshal(v1) },
		func() ([]byte, error) { return proto.Marshal(v2) },
		func() ([]byte, error) { return pmetricotlp.NewExportRequestFromMetrics(b.Metrics).MarshalProto() },
	} {
		body, err := marshal()
		if err != nil {
			return nil, err
		}
		out = append(out, seed{byte(door), body})
	}
	return out, nil
}

// feed decodes a request as the HTTP doors do and writes it.
func feed(s *Store, door byte, body []byte) error {
	ctx := context.Background()
	switch door % 3 {
	case 0:
		var req prompb.WriteRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return fmt.Errorf("%w: %w", err, store.ErrInvalid)
		}
		_, err := s.WriteRemote(ctx, store.Tenant{}, &req)
		return err
	case 1:
		var req writev2.Request
		if err := proto.Unmarshal(body, &req); err != nil {
			return fmt.Errorf("%w: %w", err, store.ErrInvalid)
		}
		_, err := s.WriteRemoteV2(ctx, store.Tenant{}, &req)
		return err
	default:
		req := pmetricotlp.NewExportRequest()
		if err := req.UnmarshalProto(body); err != nil {
			return fmt.Errorf("%w: %w", err, store.ErrInvalid)
		}
		return s.Write(ctx, store.Tenant{}, req.Metrics())
	}
}
