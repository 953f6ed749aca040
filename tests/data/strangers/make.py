"""Write models of trees by their own libraries: xgboost 3.2, lightgbm 4.7, catboost 1.2."""

from pathlib import Path

import catboost
import lightgbm
import numpy as np
import xgboost

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(64, 3)), np.arange(64) % 2


def main():
    booster = xgboost.train({"max_depth": 1}, xgboost.DMatrix(X, label=Y), 1)
    booster.save_model(HERE / "xgboost.json")
    booster.save_model(HERE / "xgboost.ubj")
    parameters = {"verbosity": -1, "min_data_in_leaf": 2, "num_leaves": 2}
    lightgbm.train(parameters, lightgbm.Dataset(X, label=Y), 1).save_model(HERE / "lightgbm.txt")
    model = catboost.CatBoostClassifier(iterations=1, depth=1, verbose=False)
    model.fit(X, Y).save_model(str(HERE / "catboost.cbm"))
    model.save_model(str(HERE / "catboost.json"), format="json")


if __name__ == "__main__":
    main()
