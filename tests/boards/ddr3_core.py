"""A LiteDRAM core's registers in software: a DDR3 that works where bit slip and delay are right.

`CSR_CSV` and `PHY_HEADER` have the form of what litedram 2024.12 writes for two byte lanes; the values are
chosen for the test (addresses, mode registers), so that nothing can be known by heart.
"""

CSR_CSV = "\n".join(
    f"csr_register,{name},0x{address:08x},{words},rw"
    for name, address, words in (
        ("ddrctrl_init_done", 0x100, 1), ("ddrctrl_init_error", 0x104, 1), ("ddrphy_dly_sel", 0x900, 1),
        ("ddrphy_rdly_dq_rst", 0x904, 1), ("ddrphy_rdly_dq_inc", 0x908, 1),
        ("ddrphy_rdly_dq_bitslip_rst", 0x90C, 1), ("ddrphy_rdly_dq_bitslip", 0x910, 1),
        ("ddrphy_burstdet_clr", 0x914, 1), ("ddrphy_burstdet_seen", 0x918, 1),
        ("sdram_dfii_control", 0x1100, 1),
        *((f"sdram_dfii_pi{phase}_{name}", 0x1104 + 0x20 * phase + offset, words) for phase in range(2)
          for name, offset, words in (("command", 0, 1), ("command_issue", 4, 1), ("address", 8, 1),
                                      ("baddress", 12, 1), ("wrdata", 16, 2), ("rddata", 24, 2))),
    )
)  # fmt: skip
PHY_HEADER = """
#define DFII_CONTROL_SEL 0x01
#define DFII_CONTROL_CKE 0x02
#define DFII_CONTROL_ODT 0x04
#define DFII_CONTROL_RESET_N 0x08
#define DFII_COMMAND_CS 0x01
#define DFII_COMMAND_WE 0x02
#define DFII_COMMAND_CAS 0x04
#define DFII_COMMAND_RAS 0x08
#define DFII_COMMAND_WRDATA 0x10
#define DFII_COMMAND_RDDATA 0x20
#define SDRAM_PHY_DFI_DATABITS 64
#define SDRAM_PHY_PHASES 2
#define SDRAM_PHY_RDPHASE 0
#define SDRAM_PHY_WRPHASE 1
#define SDRAM_PHY_MODULES 2
#define SDRAM_PHY_DELAYS 8
#define SDRAM_PHY_BITSLIPS 4
#define SDRAM_PHY_SUPPORTED_MEMORY 0x0000000020000000ULL

static inline void init_sequence(void)
{
	/* Release reset */
	sdram_dfii_pi0_address_write(0x0);
	sdram_dfii_control_write(DFII_CONTROL_ODT|DFII_CONTROL_RESET_N);
	cdelay(50000);
	/* Bring CKE high */
	sdram_dfii_control_write(DFII_CONTROL_CKE|DFII_CONTROL_ODT|DFII_CONTROL_RESET_N);
	cdelay(10000);
	/* Load Mode Register 2 */
	sdram_dfii_pi0_address_write(0x208);
	sdram_dfii_pi0_baddress_write(2);
	command_p0(DFII_COMMAND_RAS|DFII_COMMAND_CAS|DFII_COMMAND_WE|DFII_COMMAND_CS);
	/* Load Mode Register 0 */
	sdram_dfii_pi0_address_write(0x320);
	sdram_dfii_pi0_baddress_write(0);
	command_p0(DFII_COMMAND_RAS|DFII_COMMAND_CAS|DFII_COMMAND_WE|DFII_COMMAND_CS);
	cdelay(200);
}
"""
_CS, _WE, _CAS, _RAS, _WRDATA, _RDDATA = (1 << i for i in range(6))


class FakeCore:
    """`good[lane]`: (bit slip, delays that work)."""

    def __init__(self, good: list[tuple[int, range]]):
        self.good = good
        self.words: dict[int, int] = {}
        self.slip, self.delay = [0] * len(good), [0] * len(good)
        self.modes: dict[int, int] = {}
        self.row, self.held, self.came, self.seen = False, bytes(16), bytes(16), 0
        self.waited = 0.0

    def wait(self, seconds: float) -> None:
        self.waited += seconds

    def read(self, address: int) -> int:
        if address == 0x918:
            return self.seen
        for phase in range(2):
            base = 0x1104 + 0x20 * phase + 24
            if base <= address < base + 8:  # the high word first
                part = self.came[8 * phase : 8 * phase + 8]
                return int.from_bytes(part, "little") >> (32 if address == base else 0) & 0xFFFF_FFFF
        return self.words.get(address, 0)

    def write(self, address: int, value: int) -> None:
        self.words[address] = value
        chosen = [lane for lane in range(len(self.good)) if self.words.get(0x900, 0) >> lane & 1]
        for lane in chosen:
            if address == 0x904:
                self.delay[lane] = 0
            elif address == 0x908:
                self.delay[lane] += 1
            elif address == 0x90C:
                self.slip[lane] = 0
            elif address == 0x910:
                self.slip[lane] += 1
        if address == 0x914:
            self.seen = 0
        for phase in range(2):
            if address == 0x1108 + 0x20 * phase:
                self._command(phase, self.words[0x1104 + 0x20 * phase])

    def _command(self, phase: int, command: int) -> None:
        assert self.words[0x1100] & 1 == 0, "the host's commands while the controller has the memory"
        assert command & _CS
        address, bank = self.words.get(0x110C + 0x20 * phase, 0), self.words.get(0x1110 + 0x20 * phase, 0)
        match command & (_RAS | _CAS | _WE):
            case x if x == _RAS | _CAS | _WE:
                self.modes[bank] = address
            case x if x == _RAS:
                self.row = True
            case x if x == _RAS | _WE:
                self.row = False
            case x if x == _CAS | _WE:
                assert self.row and phase == 1 and command & _WRDATA
                self.held = b"".join(
                    (self.words[0x1114 + 0x20 * p] << 32 | self.words[0x1118 + 0x20 * p]).to_bytes(
                        8, "little"
                    )
                    for p in range(2)
                )
            case x if x == _CAS:
                assert self.row and phase == 0 and command & _RDDATA
                came = bytearray(self.held)
                for lane, (slip, delays) in enumerate(self.good):
                    self.seen |= (self.slip[lane] == slip) << lane
                    if self.slip[lane] != slip or self.delay[lane] not in delays:
                        came[lane::2] = bytes(byte ^ 0x41 for byte in came[lane::2])
                self.came = bytes(came)
