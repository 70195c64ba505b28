package main

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pawl-os/pawl/node/pawlv1"
)

// surface is what callers rely on: a line for each method, and for each field of each message, sorted. Its first two
// words are the kind and the name; of a field the third is its number. What follows is told apart by " ".
//
//	method pawl.v1.Node.Upgrade (pawl.v1.UpgradeRequest) stream pawl.v1.Event role=admin
//	field pawl.v1.UpgradeRequest.force 4 bool
func surface(f protoreflect.FileDescriptor) []string {
	var lines []string
	for i := range f.Services().Len() {
		methods := f.Services().Get(i).Methods()
		for j := range methods.Len() {
			lines = append(lines, method(methods.Get(j)))
		}
	}
	var walk func(protoreflect.MessageDescriptors)
	walk = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			m := messages.Get(i)
			lines = append(lines, fmt.Sprintf("message %s", m.FullName()))
			for j := range m.Fields().Len() {
				lines = append(lines, field(m.Fields().Get(j)))
			}
			walk(m.Messages())
		}
	}
	walk(f.Messages())
	slices.Sort(lines)
	return lines
}

func method(m protoreflect.MethodDescriptor) string {
	of := func(stream bool, message protoreflect.MessageDescriptor) string {
		if stream {
			return "stream " + string(message.FullName())
		}
		return string(message.FullName())
	}
	line := fmt.Sprintf("method %s (%s) %s", m.FullName(), of(m.IsStreamingClient(), m.Input()),
		of(m.IsStreamingServer(), m.Output()))
	options, _ := m.Options().(*descriptorpb.MethodOptions)
	if role, _ := proto.GetExtension(options, pawlv1.E_Role).(string); role != "" {
		line += " role=" + role
	}
	if options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		line += " by-get"
	}
	return line
}

func field(f protoreflect.FieldDescriptor) string {
	line := fmt.Sprintf("field %s %d", f.FullName(), f.Number())
	switch {
	case f.IsMap():
		line += fmt.Sprintf(" map<%s,%s>", kind(f.MapKey()), kind(f.MapValue()))
	case f.IsList():
		line += " repeated " + kind(f)
	default:
		line += " " + kind(f)
	}
	if oneof := f.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		line += " oneof=" + string(oneof.Name())
	} else if f.HasOptionalKeyword() {
		line += " optional"
	}
	if f.HasJSONName() {
		line += " json=" + f.JSONName()
	}
	options, _ := f.Options().(*descriptorpb.FieldOptions)
	if role, _ := proto.GetExtension(options, pawlv1.E_RoleIfSet).(string); role != "" {
		line += " role=" + role
	}
	if secret, _ := proto.GetExtension(options, pawlv1.E_Secret).(bool); secret {
		line += " secret"
	}
	return line
}

func kind(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return string(f.Message().FullName())
	case f.Enum() != nil:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

// breaches says what of the old lines does not hold any more, and what became of it.
func breaches(old, now []string) []string {
	var said []string
	for _, line := range old {
		if line == "" || slices.Contains(now, line) {
			continue
		}
		kind, name, rest := words(line)
		same := slices.IndexFunc(now, func(l string) bool { k, n, _ := words(l); return k == kind && n == name })
		said = append(said, name+" "+became(kind, name, rest, same, now))
	}
	return said
}

// became is what became of a line that does not hold any more: now[same] is that of the same name, if there is one.
func became(kind, name, rest string, same int, now []string) string {
	number, shape, _ := strings.Cut(rest, " ")
	if same >= 0 {
		_, _, is := words(now[same])
		newNumber, newShape, _ := strings.Cut(is, " ")
		switch {
		case kind == "field" && number != newNumber:
			return fmt.Sprintf("was renumbered: it was %s, and is %s", number, newNumber)
		case kind == "field":
			return fmt.Sprintf("was retyped: it was %q, and is %q", shape, newShape)
		}
		return fmt.Sprintf("was changed: it was %q, and is %q", rest, is)
	}
	message := name[:strings.LastIndex(name, ".")+1]
	for _, l := range now {
		if k, n, r := words(l); kind == "field" && k == kind && strings.HasPrefix(n, message) &&
			!strings.Contains(n[len(message):], ".") && strings.HasPrefix(r, number+" ") {
			return fmt.Sprintf("was renamed: number %s is %s", number, n)
		}
	}
	return "was removed"
}

func words(line string) (kind, name, rest string) {
	kind, rest, _ = strings.Cut(line, " ")
	name, rest, _ = strings.Cut(rest, " ")
	return kind, name, rest
}
