package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// raw passes encoded messages through, so that the client does not spend the
// time on protobuf that the server needs.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// OTLP is a connection to an OTLP/gRPC receiver.
type OTLP struct{ conn *grpc.ClientConn }

// DialOTLP connects on the first request.
func DialOTLP(address string) (*OTLP, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(16<<20)),
		// Batches of 600 kB would else wait for window updates of 64 kB.
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(8<<20),
		grpc.WithWriteBufferSize(256<<10))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return &OTLP{conn}, nil
}

// Close closes the connection.
func (o *OTLP) Close() error { return o.conn.Close() }

// Traces sends an ExportTraceServiceRequest.
func (o *OTLP) Traces(ctx context.Context, body []byte) (int, error) {
	return o.export(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", body)
}

// Logs sends an ExportLogsServiceRequest.
func (o *OTLP) Logs(ctx context.Context, body []byte) (int, error) {
	return o.export(ctx, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", body)
}

func (o *OTLP) export(ctx context.Context, method string, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var answer []byte
	if err := o.conn.Invoke(ctx, method, &body, &answer); err != nil {
		switch status.Code(err) {
		case codes.Unavailable, codes.ResourceExhausted, codes.Aborted, codes.DeadlineExceeded:
			return 0, fmt.Errorf("%w: %w", ErrBusy, err)
		}
		return 0, err
	}
	return rejected(answer)
}

// rejected reads partial_success.rejected_* of an export response.
func rejected(answer []byte) (int, error) {
	partial, err := field(answer, 1)
	if err != nil || partial == nil {
		return 0, err
	}
	for len(partial) > 0 {
		num, typ, n := protowire.ConsumeTag(partial)
		if n < 0 {
			return 0, fmt.Errorf("read partial success: %w", protowire.ParseError(n))
		}
		partial = partial[n:]
		if num == 1 && typ == protowire.VarintType {
			v, n := protowire.ConsumeVarint(partial)
			if n < 0 {
				return 0, fmt.Errorf("read partial success: %w", protowire.ParseError(n))
			}
			return int(v), nil
		}
		if n = protowire.ConsumeFieldValue(num, typ, partial); n < 0 {
			return 0, fmt.Errorf("read partial success: %w", protowire.ParseError(n))
		}
		partial = partial[n:]
	}
	return 0, nil
}

// field returns the first field num of a message, which holds bytes; nil when
// there is none.
func field(m []byte, want protowire.Number) ([]byte, error) {
	for len(m) > 0 {
		num, typ, n := protowire.ConsumeField(m)
		if n < 0 {
			return nil, fmt.Errorf("read export response: %w", protowire.ParseError(n))
		}
		if num == want && typ == protowire.BytesType {
			_, _, skip := protowire.ConsumeTag(m)
			v, _ := protowire.ConsumeBytes(m[skip:])
			return v, nil
		}
		m = m[n:]
	}
	return nil, nil
}

// Post returns a Send that posts to url. Any 2xx answer acknowledges.
func Post(url string, header http.Header) Send {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16, WriteBufferSize: 256 << 10}}
	return func(ctx context.Context, body []byte) (int, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		for k, v := range header {
			request.Header[k] = v
		}
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		switch {
		case response.StatusCode/100 == 2:
			return 0, err
		case response.StatusCode == http.StatusTooManyRequests, response.StatusCode >= 500:
			err = ErrBusy
		default:
			err = errors.New("refused")
		}
		return 0, fmt.Errorf("post %s: %s: %.300s: %w", url, response.Status, answer, err)
	}
}
