package disk

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// writeOVA writes a tar archive (ustar) with a description (OVF 1.1, DMTF DSP0243), the digests of both files, and the
// disk as a VMDK. The disk is made first, since all before it depends on its size.
func writeOVA(ctx context.Context, s *stream, src Source, o WriteOptions) (err error) {
	f, err := s.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	vmdk := newStream(f)
	if err := errors.Join(writeVMDK(ctx, vmdk, src, o), vmdk.close()); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, vmdk.at)); err != nil {
		return err
	}
	name := cmp.Or(o.Name, "disk")
	ovf := []byte(describeVM(name, src.Size(), vmdk.at, o.BIOS))
	manifest := digest(name+".ovf", hashed(ovf)) + digest(name+"-disk1.vmdk", sum)
	t := tar.NewWriter(struct{ io.Writer }{s})
	for _, file := range []struct {
		name string
		size int64
		r    io.Reader
	}{
		{name + ".ovf", int64(len(ovf)), strings.NewReader(string(ovf))},
		{name + ".mf", int64(len(manifest)), strings.NewReader(manifest)},
		{name + "-disk1.vmdk", vmdk.at, io.NewSectionReader(f, 0, vmdk.at)},
	} {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: 0o644, Size: file.size, ModTime: o.Time,
			Format: tar.FormatUSTAR}
		if h.ModTime.IsZero() {
			h.ModTime = epoch
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", file.name, err)
		}
		if _, err := io.Copy(t, file.r); err != nil {
			return err
		}
	}
	return t.Close()
}

func hashed(p []byte) hash.Hash {
	h := sha256.New()
	h.Write(p)
	return h
}

func digest(name string, h hash.Hash) string {
	return fmt.Sprintf("SHA256(%s)= %s\n", name, hex.EncodeToString(h.Sum(nil)))
}

// describeVM describes a machine with two processors, 2 GiB of memory, the disk and a network card.
func describeVM(name string, disk, file int64, bios bool) string {
	firmware := "efi"
	if bios {
		firmware = "bios"
	}
	return fmt.Sprintf(machine, name, disk, file, firmware)
}

// machine is for a name, the sizes of the disk and of its file in bytes, and the firmware.
const machine = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href="%[1]s-disk1.vmdk" ovf:id="file1" ovf:size="%[3]d"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="%[2]d" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="%[1]s">
    <Info>A virtual machine</Info>
    <Name>%[1]s</Name>
    <OperatingSystemSection ovf:id="101" vmw:osType="otherLinux64Guest">
      <Info>The operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>%[1]s</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>2 processors</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>2048 MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>2048</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Disk</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>VM Network</rasd:Connection>
        <rasd:ElementName>Network card</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="%[4]s"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`
