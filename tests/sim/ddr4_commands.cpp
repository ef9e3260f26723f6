// The DDR4 checker alone: arguments "groups", "banks", then "rule:value"; commands on the standard input, a line each.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include "ddr4_checker.h"

void ddr4_fail(const std::string& message) {
    std::printf("%s\n", message.c_str());
    std::exit(1);
}

int main(int argc, char** argv) {
    Rules rules;
    for (int i = 3; i < argc; ++i) {
        const std::string text = argv[i];
        const size_t colon = text.find(':');
        for (const RuleName& rule : kRuleNames)
            if (text.substr(0, colon) == rule.name) rules.*rule.field = std::stoi(text.substr(colon + 1));
    }
    Checker checker(rules, std::atoi(argv[1]), std::atoi(argv[2]));
    const std::map<std::string, Command> commands = {{"ACT", Command::kActivate}, {"RD", Command::kRead},
                                                     {"WR", Command::kWrite},     {"PRE", Command::kPrecharge},
                                                     {"REF", Command::kRefresh}};
    std::string what;
    long long now, one, two;
    while (std::cin >> what >> now >> one >> two) {
        if (what == "DATA") checker.data(one, now);
        else if (what == "TIME") checker.time(now);
        else if (what == "ACCEPT") checker.accepted(one != 0, static_cast<uint32_t>(two), now);
        else if (what == "SERVE") checker.served(one != 0, static_cast<uint32_t>(two), now);
        else checker.command(commands.at(what), now, static_cast<int>(one), static_cast<int>(two));
    }
    return 0;
}
