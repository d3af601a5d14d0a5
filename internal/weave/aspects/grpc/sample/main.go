// Orders over gRPC: unary calls and all kinds of streams, from handlers that
// call on with their context and without it, and calls that fail.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// orders is what protoc would have made a client and a server of.
var orders = grpc.ServiceDesc{
	ServiceName: "shop.Orders",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Read", Handler: handleRead}},
	Streams: []grpc.StreamDesc{
		{StreamName: "List", Handler: handleList, ServerStreams: true},
		{StreamName: "Import", Handler: handleImport, ClientStreams: true},
		{StreamName: "Chat", Handler: handleChat, ServerStreams: true, ClientStreams: true},
	},
}

// stock is asked by orders.
var stock = grpc.ServiceDesc{
	ServiceName: "shop.Stock",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Reserve", Handler: handleReserve}},
}

func handleReserve(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	reserve := func(ctx context.Context, in any) (any, error) {
		if in.(*wrapperspb.StringValue).Value == "spill" {
			panic("out of coffee")
		}
		return in, nil
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/shop.Stock/Reserve"}, reserve)
}

// server is that of orders.
type server struct{ stock *grpc.ClientConn }

func (s *server) reserve(ctx context.Context, what string) error {
	return s.stock.Invoke(ctx, "/shop.Stock/Reserve", wrapperspb.String(what), new(wrapperspb.StringValue))
}

func handleRead(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	read := func(ctx context.Context, in any) (any, error) {
		return srv.(*server).read(ctx, in.(*wrapperspb.StringValue))
	}
	if interceptor == nil {
		return read(ctx, in)
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/shop.Orders/Read"}, read)
}

func (s *server) read(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	switch in.Value {
	case "":
		return nil, status.Error(codes.InvalidArgument, "an order has an id")
	case "lost":
		return nil, errors.New("the disk is gone")
	case "blind": // neither the log nor the calls have the context, and some are of other goroutines
		slog.Info("order read", "order", in.Value)
		ctx = context.Background()
		done := make(chan error)
		go func() { done <- errors.Join(s.reserve(ctx, "first"), s.reserve(ctx, "second")) }()
		if err := <-done; err != nil {
			return nil, err
		}
	default:
		slog.InfoContext(ctx, "order read", "order", in.Value)
	}
	if err := s.reserve(ctx, in.Value); err != nil {
		return nil, err
	}
	return wrapperspb.String("order " + in.Value), nil
}

func handleList(_ any, stream grpc.ServerStream) error {
	in := new(wrapperspb.StringValue)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	slog.InfoContext(stream.Context(), "orders listed", "of", in.Value)
	for i := range 3 {
		if err := stream.SendMsg(wrapperspb.String(fmt.Sprint("order ", i))); err != nil {
			return err
		}
	}
	if in.Value == "broken" {
		return status.Error(codes.DataLoss, "the rest is gone")
	}
	return nil
}

func handleImport(_ any, stream grpc.ServerStream) error {
	for n := int64(0); ; n++ {
		err := stream.RecvMsg(new(wrapperspb.StringValue))
		if err == io.EOF {
			slog.Info("orders imported", "number", n)
			return stream.SendMsg(wrapperspb.Int64(n))
		}
		if err != nil {
			return err
		}
	}
}

func handleChat(srv any, stream grpc.ServerStream) error {
	for {
		in := new(wrapperspb.StringValue)
		err := stream.RecvMsg(in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := srv.(*server).reserve(context.Background(), in.Value); err != nil {
			return err
		}
		if err := stream.SendMsg(in); err != nil {
			return err
		}
	}
}

// recoverer answers a panic, as most services have one.
func recoverer(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = status.Errorf(codes.Internal, "recovered: %v", p)
		}
	}()
	return next(ctx, in)
}

func audit(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	out, err := next(ctx, in)
	if err != nil {
		slog.WarnContext(ctx, "call failed", "method", info.FullMethod)
	}
	return out, err
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	inner, err := grpc.Dial(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	// Its handlers run in goroutines that serve one call after the other.
	s := grpc.NewServer(grpc.NumStreamWorkers(2), grpc.UnaryInterceptor(recoverer), grpc.ChainUnaryInterceptor(audit))
	healthpb.RegisterHealthServer(s, health.NewServer())
	s.RegisterService(&orders, &server{inner})
	s.RegisterService(&stock, struct{}{})
	done := make(chan error)
	go func() { done <- s.Serve(l) }()

	ctx := context.Background()
	for _, id := range []string{"7", "blind", "", "lost", "spill"} {
		out := new(wrapperspb.StringValue)
		err := conn.Invoke(ctx, "/shop.Orders/Read", wrapperspb.String(id), out)
		fmt.Printf("read %q: %q, %v\n", id, out.Value, status.Code(err))
	}
	fmt.Println("unknown:", status.Code(conn.Invoke(ctx, "/shop.Orders/Forget", wrapperspb.String("7"), new(wrapperspb.StringValue))))
	list(ctx, conn, "all")
	list(ctx, conn, "broken")
	importing(ctx, conn)
	chat(ctx, conn)
	impatient(ctx, conn)
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	must(err)
	must(conn.Close())
	must(inner.Close())
	s.GracefulStop()
	must(<-done)
}

func list(ctx context.Context, conn *grpc.ClientConn, of string) {
	stream, err := conn.NewStream(ctx, &orders.Streams[0], "/shop.Orders/List")
	must(err)
	must(stream.SendMsg(wrapperspb.String(of)))
	must(stream.CloseSend())
	for n := 0; ; n++ {
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			fmt.Println("list", of, n, err == io.EOF, status.Code(err))
			return
		}
	}
}

func importing(ctx context.Context, conn *grpc.ClientConn) {
	stream, err := conn.NewStream(ctx, &orders.Streams[1], "/shop.Orders/Import")
	must(err)
	for range 3 {
		must(stream.SendMsg(wrapperspb.String("order")))
	}
	must(stream.CloseSend())
	n := new(wrapperspb.Int64Value)
	must(stream.RecvMsg(n))
	fmt.Println("imported", n.Value)
}

func chat(ctx context.Context, conn *grpc.ClientConn) {
	stream, err := conn.NewStream(ctx, &orders.Streams[2], "/shop.Orders/Chat")
	must(err)
	for range 2 {
		must(stream.SendMsg(wrapperspb.String("hello")))
		must(stream.RecvMsg(new(wrapperspb.StringValue)))
	}
	must(stream.CloseSend())
	fmt.Println("chat ends with", stream.RecvMsg(new(wrapperspb.StringValue)))
}

// impatient does not wait for the end of a stream.
func impatient(ctx context.Context, conn *grpc.ClientConn) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := conn.NewStream(ctx, &orders.Streams[2], "/shop.Orders/Chat")
	must(err)
	must(stream.SendMsg(wrapperspb.String("hello")))
	must(stream.RecvMsg(new(wrapperspb.StringValue)))
	cancel()
	fmt.Println("cancelled:", status.Code(stream.RecvMsg(new(wrapperspb.StringValue))))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
